"""Measured cases on a Ray cluster. Ray is imported here alone, and only for a command with --ray."""
