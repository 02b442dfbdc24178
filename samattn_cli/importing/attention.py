"""`run.attention` as transformers would choose it for an encoder.

Source: transformers 5.23.0, modeling_utils.py, `_check_and_adjust_attn_implementation`: what the config names, else sdpa
where the model's class supports it, else eager.
"""

from __future__ import annotations

from ..config.kernels import unfit
from ..config.model import EncoderConfig
from .families import EAGER_ALONE
from .given import Given, Keys, cut

EAGER, DEFAULT = "eager", "sdpa"
ENTRIES = ("attn_implementation", "_attn_implementation")
"""Where a config.json names it; transformers reads both."""


def with_attention(keys: Keys, config: EncoderConfig, given: Given, model_type: str) -> Keys:
    """The keys with the kernel, where they name none: eager is the default and is not written."""
    run = keys.get("run", {})
    if "attention" in run or _kernel(config, given, model_type) == EAGER:
        return keys
    return {**keys, "run": {**run, "attention": DEFAULT}}


def _kernel(config: EncoderConfig, given: Given, model_type: str) -> str:
    named = given.word(*ENTRIES)
    if named == EAGER or model_type in EAGER_ALONE:
        return EAGER
    if named not in {"", DEFAULT}:
        given.warnings.append(f"Its attention, {cut(named)}, is written as {DEFAULT}.")
    if problem := unfit(DEFAULT, config):
        given.warnings.append(f"transformers runs it with {DEFAULT}, samattn with {EAGER}: {problem}.")
        return EAGER
    return DEFAULT
