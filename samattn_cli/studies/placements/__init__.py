"""Placements of an encoder's global layers: a comparison of named strategies, and a search of all placements."""
