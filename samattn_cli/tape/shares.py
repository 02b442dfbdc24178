"""Which share of a block's cost a product belongs to, by its name. All families use these names."""

from __future__ import annotations

from .ops import SCORES, Op

REL_POS = "rel_pos"

_OF_REL_POS = ("attn.rel", "attn.cpb_mlp")
_OF_ATTENTION = {
    "attn.qkv": "qkv",
    "attn.scores": SCORES,
    "attn.values": SCORES,
    "attn.sdpa": SCORES,
    "attn.proj": "proj",
}


def share_of(op: Op) -> str:
    """One of "qkv", "scores" (QK^T and AV), "rel_pos" or "proj"; otherwise the name of the block's module, such as "mlp"."""
    if op.name.startswith(_OF_REL_POS):
        return REL_POS
    if op.name.startswith("attn.qkv."):  # LoRA's terms with it
        return "qkv"
    return _OF_ATTENTION.get(op.name) or op.name.partition(".")[0]
