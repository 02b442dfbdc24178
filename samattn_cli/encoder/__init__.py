"""YAML text to a frozen `EncoderConfig`."""
