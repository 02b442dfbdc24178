"""SAM 2's hierarchical encoder."""
