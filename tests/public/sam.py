"""segment-anything's own encoders, counted: what `counts.py` sets beside samattn's figures."""

from __future__ import annotations

import torch

from samattn_cli import load_config
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.segment_anything_encoder import official_encoder

PRESETS = ("sam_vit_b", "sam_vit_l", "sam_vit_h", "sam_vit_h_all_global")


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder."""
    config = load_config(preset)
    with torch.device("meta"):  # their get_rel_pos makes its indexes on the default device
        return counted(official_encoder(config, "meta"), image_for(config, "meta"))
