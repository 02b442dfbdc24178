"""SAM's and ViTDet's encoder."""
