"""ViTDet's own block, positions and pyramid."""
