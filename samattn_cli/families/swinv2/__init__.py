"""Swin Transformer V2."""
