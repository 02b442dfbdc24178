"""segment-anything's own image encoder, as its authors wrote it, without the torchvision its package imports."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from samattn_cli.encoder.model import EncoderConfig

STUB = "segment_anything_modeling"


def _import_image_encoder() -> ModuleType:
    if STUB not in sys.modules:
        spec = find_spec("segment_anything")
        assert spec is not None
        assert spec.origin is not None
        package = ModuleType(STUB)
        package.__path__ = [str(Path(spec.origin).parent / "modeling")]
        sys.modules[STUB] = package
    return import_module(f"{STUB}.image_encoder")


official = _import_image_encoder()


def official_encoder(config: EncoderConfig, device: str = "cpu") -> nn.Module:
    """segment-anything's ImageEncoderViT of `config`: square sizes, one stage, its neck, rel_pos none or decomposed."""
    (stage,) = config.stages
    (size, width), (window, window_width) = config.image_size, stage.window_size
    assert (size, window) == (width, window_width)
    assert stage.rel_pos != "joint"
    assert config.neck == "sam"
    with torch.device(device):
        encoder = official.ImageEncoderViT(
            img_size=size,
            patch_size=config.patch_size,
            in_chans=config.in_chans,
            embed_dim=stage.embed_dim,
            depth=stage.depth,
            num_heads=stage.num_heads,
            mlp_ratio=stage.mlp_ratio,
            out_chans=config.out_chans,
            qkv_bias=stage.qkv_bias,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_abs_pos=config.pos_embed == "learned",
            use_rel_pos=stage.rel_pos == "decomposed",
            window_size=window,
            global_attn_indexes=stage.global_attn_indexes,
        )
    encoder.begin_checkpoints = ()  # what trace.py asks of an encoder; theirs has no such thing
    return encoder.to(getattr(torch, config.run.dtype)).eval()
