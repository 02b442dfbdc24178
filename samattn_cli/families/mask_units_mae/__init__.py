"""Hiera's MAE pretraining: mask units are dropped before the blocks, and restored by a decoder."""
