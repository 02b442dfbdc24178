"""The packed vision encoders of transformers, cut into the parts of the plan: a module each for MiniCPM-V 4.6 and Muse Glimmer."""

from __future__ import annotations

from torch import nn

from ...encoder.model import EncoderConfig
from . import transformers_minicpm_stack, transformers_muse_stack
from .words import MINICPM


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    of_minicpm = config.stages[0].block == MINICPM
    return (transformers_minicpm_stack if of_minicpm else transformers_muse_stack).parts(config)
