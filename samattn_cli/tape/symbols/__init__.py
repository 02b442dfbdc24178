"""Dimensions that stand for many numbers at once: a pass on the Tape with these gives formulas instead of numbers.

The Tape runs on a `Formula` as it runs on an int. The results are evaluated over the points of its `Space`: NumPy arrays for
a sweep, or one point for an explanation. If a comparison in the pass holds at some points only, the pass goes on with those, and
is run again for the others. Blocks that make the same comparisons with the same answers are passed once: see `Space.recalled`.
"""
