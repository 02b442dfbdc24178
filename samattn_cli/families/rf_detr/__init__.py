"""RF-DETR's encoder: DINOv2 over a grid that is cut into windows, and the projector after it."""
