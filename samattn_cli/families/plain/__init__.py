"""Plain vision transformers: ViT, MAE, CLIP."""
