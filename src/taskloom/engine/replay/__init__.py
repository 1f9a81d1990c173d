"""The backward pass as a list of linear maps, read from the graph once and applied to several tasks together.

Autograd goes through the graph once per task, and every time it computes anew what does not depend on the task: where
a ReLU is open, how steep a GELU is, the attention of a transformer. Here the maps are made once (``operations.py`` and
the files of its table), in a precision of choice, and a program (``program.py``) applies them to the gradients of
several tasks at a time. That is how gradients are propagated in another precision than the forward pass was made in.

What autograd does besides does not happen here: hooks on activations are not called. A replay therefore serves
measurements that nobody takes for exact, and that are compared with an ordinary backward pass afterwards.
"""
