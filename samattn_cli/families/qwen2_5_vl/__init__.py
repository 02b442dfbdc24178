"""Qwen2.5-VL's vision encoder."""
