"""The version, and that of how figures are counted."""

__version__ = "0.1.0"

COUNTING = 1
"""One more with each change by which the same config has another figure: CHANGELOG names those under "Counting"."""
