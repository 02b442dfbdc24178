"""Encoder configs from what people already have: Hugging Face's config.json, checkpoints, timm models."""
