"""Swin V2 of timm, cut into the parts of the plan.

Source: timm 1.0.31, models/swin_transformer_v2.py.
"""

from __future__ import annotations

from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from ...encoder.model import EncoderConfig
from ..swin.timm_stack import parts_of, sizes


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    return parts_of(model(config))


def model(config: EncoderConfig) -> SwinTransformerV2:
    """The SwinTransformerV2 of an encoder that it can run, without a classifier."""
    return SwinTransformerV2(**sizes(config))
