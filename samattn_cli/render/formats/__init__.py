"""The formats of reports: text or bytes."""
