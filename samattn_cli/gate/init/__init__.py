"""The study of `samattn init`: which encoders there are, and what they cost today, as a thresholds file."""
