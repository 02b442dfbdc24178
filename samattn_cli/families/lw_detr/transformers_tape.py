"""What transformers writes differently in LW-DETR's backbone; the rest is `tape.py`.

Source: transformers 5.23.0, models/lw_detr/modeling_lw_detr.py: LwDetrViTLayer, LwDetrViTAttention, LwDetrViTBackbone,
eager_attention_forward.
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import ITEM_BYTES
from ..rf_detr import tape as rf_detr
from ..rf_detr.tape import mlp, whole_images
from ..rf_detr.transformers_tape import NAMES_OF_ATTENTION
from . import tape as reference


class Code(rf_detr.Code):
    """The names of a block and of its attention, as transformers has them; its keys have no bias."""

    holds = {"norm1": "block", "scaled": "block", **NAMES_OF_ATTENTION}  # noqa: RUF012 - never changed
    unbiased = ("k_proj",)

    def softmax(self, scores: Tensor) -> Tensor:
        """In float32, then copied to the type of the scores."""
        tape = self.tape
        wide = tape.softmax("softmax", scores, in_float32=scores.item_bytes != ITEM_BYTES["float32"])
        probabilities = tape.cast("cast", wide, scores.item_bytes)
        tape.free(scores)
        tape.free(wide, keep=probabilities)
        return probabilities


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Pre-norm block that scales what it adds: (M, N, C) -> (M, N, C)."""
    steps, C = Code(tape), x.shape[-1]
    tape.registers("gamma_1", "gamma_2", "attn", "mlp", "norm1", "norm2")
    normed = tape.layer_norm("norm1", x)
    with tape.module("attn"):
        attended = rf_detr.attention(tape, whole_images(normed, layer), layer.stage, kernel, steps)
    scaled = tape.mul("scale_attn", attended, tape.used_weight("gamma_1", C))
    tape.free(attended)
    steps.drop("norm1", normed)
    added = tape.add("add_attn", x, scaled.view(*x.shape))
    steps.drop("scaled", scaled)
    normed = tape.layer_norm("norm2", added)
    with tape.module("mlp"):
        y = mlp(tape, normed, layer.stage)
    tape.free(normed)
    scaled = tape.mul("scale_mlp", y, tape.used_weight("gamma_2", C))
    tape.free(y)
    out = tape.add("add_mlp", added, scaled)
    tape.free(scaled, added, *steps.held("block"))
    return out


def pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """The windows, (M, N, C), and what they are cut from, which the backbone's forward has a name for."""
    added = reference.with_positions(tape, x, part)
    return reference.windows_of(tape, added, part), added


BLOCKS = {"lw_detr": block}
POS_EMBEDS = {"lw_detr": pos_embed}
