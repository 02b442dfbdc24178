"""Questions about encoders, answered with reports. Nothing here prints."""
