"""The real stack in PyTorch, and what is counted and traced on it. Only this package imports torch."""
