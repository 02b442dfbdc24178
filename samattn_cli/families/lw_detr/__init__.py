"""LW-DETR's encoder: a plain ViT over a grid that is cut into windows, and the projector after it."""
