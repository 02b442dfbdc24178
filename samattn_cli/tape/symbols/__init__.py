"""Dimensions that stand for many numbers at once: the pass that takes numbers takes these, and gives formulas.

The Tape runs on a `Formula` as it runs on an int. What comes out is evaluated over the points of its `Space`: NumPy
arrays of a sweep, or the one point of an explanation. Where the points part ways, the pass is run on each lot alone.
"""
