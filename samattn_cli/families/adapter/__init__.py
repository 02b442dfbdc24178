"""Medical SAM Adapter and LoRA."""
