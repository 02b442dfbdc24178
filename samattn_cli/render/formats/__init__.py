"""Formats: a report to text or to bytes, a file each."""
