"""What transformers writes differently in Hiera; the rest is `tape.py`.

Source: transformers 5.23.0, models/hiera/modeling_hiera.py: HieraMaskUnitAttention, HieraLayer, HieraPooler, HieraModel. Shapes:
B batch, N tokens, C width.
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import PartConfig
from ...tape import derivatives
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from . import tape as reference


class Code(reference.Code):
    """The steps of a block as in transformers, where what attention returns takes the name of what it reads."""

    holds = {"attended": "block"}  # noqa: RUF012 - never changed

    def parts(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, by ``unbind``."""
        return qkv.unbind()


def positions(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """The tokens in the order of mask units, and as they were before: (B, HW, C) each."""
    B, H, W, C = x.shape
    added = tape.add_weight("add", x.view(B, H * W, C), tape.parameter("pos_embed", 1, H * W, C))
    tape.let_go()
    return reference.unroll(tape, added.view(B, H, W, C), part.config), added


def pool(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """The mean of all tokens and its norm, (B, C), and the tokens, which are returned too: no gradient comes for them."""
    return _pooled(tape, x, part), x.made_by(None)


def _pooled(tape: Tape, x: Tensor, _part: PartConfig) -> Tensor:
    """The mean by an adaptive pooling of (B, C, 1, N), which gives its result new strides (AdaptiveAveragePooling.cpp)."""
    B, _, C = x.shape
    image = x.transpose(1, 2).unsqueeze(2)
    mean = tape.mean("mean", image, 3)
    if image.is_channels_last:
        mean = tape.derived("mean", mean, (mean,), derivatives.as_strided, (mean,))
    out = tape.layer_norm("norm", mean.view(B, C))
    tape.free(mean)
    return out


def classifier(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """The same, and a linear layer, before which the model has returned its tokens: (B, N, C) -> (B, classes)."""
    pooled = _pooled(tape, x, part)
    tape.let_go(x)
    out = tape.linear("head", pooled, part.leaving.dim)
    tape.free(pooled)
    return out


BLOCKS = {"mask_unit": partial(reference.block, code=Code)}
POS_EMBEDS = {"mask_units": positions}
NECKS = {"hiera_pool": pool, "hiera_classifier": classifier}
