"""`samattn init`: finds encoder configs, and writes what they cost today as a thresholds file."""
