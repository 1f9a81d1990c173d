"""Links that replace every task gradient by a combination of task gradients: Gramian in, (K, K) matrix out."""
