"""The study of `samattn check`: encoders against a thresholds file."""
