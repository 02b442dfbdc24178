"""TinyViT, and MobileSAM's image encoder."""
