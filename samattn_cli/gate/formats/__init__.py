"""A check in the formats of CI services, and as a page."""
