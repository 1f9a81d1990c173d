"""Penalties on the coefficient matrix, one per file: value, proximal operator, conjugate."""
