"""Hiera (Ryali et al., 2023): attention in mask units, then over all tokens; its classifier and its MAE pretraining."""
