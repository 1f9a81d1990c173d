"""Proximal operators and projections: NumPy in, NumPy out, one idea per file, vectorised over rows."""
