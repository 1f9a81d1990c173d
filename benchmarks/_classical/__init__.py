"""The parts of classical.py."""
