"""Parts of ``planted.py``: the networks, how groups are read from them, the sweep of AdaShare's weight, tables."""
