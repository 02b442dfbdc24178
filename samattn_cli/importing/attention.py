"""`run.attention` as the library would choose it that an encoder is from.

Sources: transformers 5.23.0, modeling_utils.py, `_check_and_adjust_attn_implementation`: what the config names, else sdpa
where the model's class supports it, else eager; timm, layers/attention.py: `fused_attn` of each attention.
"""

from __future__ import annotations

from ..encoder.kernels import unfit
from ..encoder.model import EncoderConfig
from .description import Given, Keys, cut
from .families import EAGER_ALONE
from .weights import Weights

EAGER, DEFAULT = "eager", "sdpa"
ENTRIES = ("attn_implementation", "_attn_implementation")
"""Where a config.json names it; transformers reads both."""


OF_TIMM = ("blocks.0.attn.fused_attn", "layers.0.blocks.0.attn.fused_attn")
OF_THREE_DIMENSIONS = "blocks.0.attn.rel_pos_h"
"""timm's SAM gives sdpa no heads: torch up to 2.13 makes the whole matrix of scores, as eager does."""


def of_transformers(keys: Keys, config: EncoderConfig, given: Given, model_type: str) -> Keys:
    """The keys with the kernel, where they name none: eager is the default and is not written."""
    named = given.word(*ENTRIES)
    if named == EAGER or model_type in EAGER_ALONE:
        return keys
    if named not in {"", DEFAULT}:
        given.warnings.append(f"Its attention, {cut(named)}, is written as {DEFAULT}.")
    return _with_default(keys, config, given.warnings, "transformers")


def of_timm(keys: Keys, config: EncoderConfig, weights: Weights) -> Keys:
    """The keys with the kernel of a timm model's first block."""
    if OF_THREE_DIMENSIONS in weights or not any(map(weights.facts.get, OF_TIMM)):
        return keys
    return _with_default(keys, config, weights.warnings, "timm")


def _with_default(keys: Keys, config: EncoderConfig, warnings: list[str], library: str) -> Keys:
    run = keys.get("run", {})
    if "attention" in run:
        return keys
    if problem := unfit(DEFAULT, config):
        warnings.append(f"{library} runs it with {DEFAULT}, samattn with {EAGER}: {problem}.")
        return keys
    return {**keys, "run": {**run, "attention": DEFAULT}}
