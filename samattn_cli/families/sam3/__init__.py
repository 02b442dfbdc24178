"""SAM 3's vision encoder."""
