"""Swin Transformer V2: cosine attention, biases from an MLP on relative positions, norms after attention and MLP.

Source: arXiv:2111.09883 and microsoft/Swin-Transformer, models/swin_transformer_v2.py.
"""

from ...encoder.slots import Block, Family, Transition
from ..swin.words import MERGING, clamped, merged

FAMILY = Family(
    blocks={
        "swinv2": Block(
            summary="Swin V2's block: like Swin's, with cosine attention, biases from an MLP, norms after attention and MLP.",
            keys=frozenset({"shift_size"}),
            kernels=("eager",),
            place=clamped,
        )
    },
    transitions={
        "patch_merging_v2": Transition(
            summary="Swin V2's: merges 2x2 tokens into one, then a linear layer and LayerNorm.",
            stream=merged,
            slides=MERGING,
        )
    },
)
