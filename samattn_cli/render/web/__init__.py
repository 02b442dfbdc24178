"""A report as one page for a browser: no network, no framework, readable without its script."""
