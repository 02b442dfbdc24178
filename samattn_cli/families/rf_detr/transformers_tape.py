"""What transformers writes differently in RF-DETR's backbone; the rest is `tape.py`.

Source: transformers 5.23.0, models/rf_detr/modeling_rf_detr.py: RfDetrDinov2Layer, RfDetrDinov2Attention, eager_attention_forward.
"""

from __future__ import annotations

from functools import partial

from . import tape as reference

NAMES_OF_ATTENTION = {"q": "attention", "k": "attention", "v": "attention", "probabilities": "block"}
"""What attention's forward has names for, and what it returns besides the attended tokens."""


class Code(reference.Code):
    """The names of a block and of its attention, as transformers has them."""

    holds = {"norm1": "block", "scaled": "block", **NAMES_OF_ATTENTION}  # noqa: RUF012 - never changed


BLOCKS = {"rf_detr": partial(reference.block, code=Code)}
