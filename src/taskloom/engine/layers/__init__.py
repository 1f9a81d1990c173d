"""Exact task gradients layer by layer: only the gradients of layer outputs are propagated for every task.

What is done with them is decided layer by layer (``linear.py``, ``convolution.py``, ``embedding.py``); what no rule
covers comes out of the same passes as ordinary gradients (``remaining.py``). Nothing is hooked or patched: the inputs
of layers are what autograd itself has saved for its backward pass (``capture.py``), and which parameters are covered is
read from the graph (``graph.py``, ``proofs.py``).
"""
