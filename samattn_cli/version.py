"""The version of samattn, and of its rules for counting."""

__version__ = "0.1.0"

COUNTING = 2
"""Goes up with each change that gives the same config a different figure. CHANGELOG lists these under "Counting"."""
