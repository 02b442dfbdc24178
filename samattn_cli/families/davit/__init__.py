"""DaViT, and Florence-2's vision encoder, which is one."""
