"""Where the global layers of an encoder go: named strategies side by side, and every placement there is."""
