"""The families of benchmarks/architectures.py: one file per family, each with a list ``CASES``."""
