"""Exact solvers of the small problems behind balancing methods: NumPy in, NumPy out, one problem per file.

Every convex problem here is a few hundred numbers: the inner products of the gradients of K tasks. Nearly all of them
come down to one kernel, :mod:`taskloom.solvers.quadratic`. With the extra ``fast`` (numba) the kernels are compiled.
"""
