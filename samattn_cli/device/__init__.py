"""Devices: their files, the roofline, and factors fitted to measured times."""
