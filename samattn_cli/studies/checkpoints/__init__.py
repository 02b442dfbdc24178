"""The search for the blocks to checkpoint: the fewest FLOPs that are computed again with which a training step fits."""
