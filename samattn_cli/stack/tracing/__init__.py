"""Runs somebody else's PyTorch module without its weights, in a process of its own, and records each operation."""
