"""`run.attention` as the library that an encoder comes from would choose it.

Sources: transformers 5.23.0, modeling_utils.py, `_check_and_adjust_attn_implementation`: the kernel that the config names,
otherwise sdpa if the model's class supports it, otherwise eager; timm, layers/attention.py: `fused_attn` of each attention.
"""

from __future__ import annotations

from ..encoder.kernels import unfit
from ..encoder.model import EncoderConfig
from ..errors import Message
from .description import Description, Keys, quoted
from .families import eager_only
from .weights import Weights

EAGER, DEFAULT = "eager", "sdpa"
ENTRIES = ("attn_implementation", "_attn_implementation")
"""The entries of a config.json that name it; transformers reads both."""

TIMM_SWITCHES = (
    "blocks.0.attn.fused_attn",
    "layers.0.blocks.0.attn.fused_attn",
    "stages.1.blocks.0.attn.fused_attn",
    "stages.0.blocks.0.0.attn.fused_attn",
    "stages.0.blocks.0.spatial_block.attn.fused_attn",
)


def of_transformers(keys: Keys, config: EncoderConfig, description: Description, model_type: str) -> Keys:
    """The keys with the kernel, if they do not name one: eager is the default and is not written."""
    named = description.word(*ENTRIES)
    if named == EAGER or model_type in eager_only():
        return keys
    if named not in {"", DEFAULT}:
        description.warnings.append(
            Message(
                "unsupported-attention",
                f"samattn does not support attention {quoted(named)}: the config uses {DEFAULT}.",
            )
        )
    return _with_default(keys, config, description.warnings, "transformers")


def of_timm(keys: Keys, config: EncoderConfig, weights: Weights) -> Keys:
    """The keys with the kernel of a timm model's first block."""
    if not any(map(weights.attributes.get, TIMM_SWITCHES)):
        return keys
    return _with_default(keys, config, weights.warnings, "timm")


def _with_default(keys: Keys, config: EncoderConfig, warnings: list[str], library: str) -> Keys:
    run = keys.get("run", {})
    if "attention" in run:
        return keys
    if problem := unfit(DEFAULT, config):
        warnings.append(
            Message("unsupported-attention", f"{library} uses {DEFAULT}, samattn {EAGER}: {problem}.")
        )
        return keys
    return {**keys, "run": {**run, "attention": DEFAULT}}
