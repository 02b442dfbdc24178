"""scaled_dot_product_attention by unfused products, which make the matrix of scores: torch's math kernel.

Operands of 16 bits are copied to float32, and the probabilities are copied back although nothing reads the copy. A row whose
scores are all minus infinity becomes zeros: a matrix of flags is made to find such rows. The same in torch 2.6.0 and 2.14.1, as
the dry device shows. Sources: _scaled_dot_product_attention_math in attention.cpp and _safe_softmax in SoftMax.cpp of ATen.
"""

from __future__ import annotations

from ..units import ITEM_BYTES
from . import derivatives
from .derivatives import BOOL_BYTES
from .ops import INSIDE_SDPA, SCORES
from .sdpa import Choice
from .tape import Tape
from .tensor import Tensor


def unfused(
    tape: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, choice: Choice
) -> Tensor:
    """(..., N, d), (..., M, d), (..., M, e) -> (..., N, e); the mask may broadcast to (..., N, M)."""
    with tape.without_autocast():
        wide_q, wide_k, wide_v = wide = tuple(_wide(tape, f"{name}.cast", x) for x in (q, k, v))
        scaled = tape.scale(f"{name}.scale_q", wide_q)
        probabilities = _softmax(tape, _scores(tape, name, scaled, wide_k, mask, choice))
        unread = tape.cast(f"{name}.probabilities.cast", probabilities, q.item_bytes)
        values = tape.matmul("values", probabilities, wide_v, call=INSIDE_SDPA)
        out = tape.cast(f"{name}.values.cast", values, q.item_bytes)
        if out is not values:
            tape.free(values)
            tape.free(probabilities)
        copies = [x for x, own in zip(wide, (q, k, v), strict=True) if x is not own]
        tape.free(scaled, *reversed(copies), unread)
    return out


def _wide(tape: Tape, name: str, x: Tensor) -> Tensor:
    return tape.cast(name, x, max(x.item_bytes, ITEM_BYTES["float32"]))


def _scores(tape: Tape, name: str, scaled: Tensor, k: Tensor, mask: Tensor | None, choice: Choice) -> Tensor:
    """Scores (..., N, M) of scaled queries, to which the mask is added in place."""
    scaled_k = tape.scale(f"{name}.scale_k", k.transpose(-2, -1))
    scores = tape.matmul(SCORES, scaled, scaled_k, call=INSIDE_SDPA, scores=True, choice=choice)
    tape.free(scaled_k)
    if mask is None:
        return scores
    masked = f"{name}.add_mask"
    tape.add_(masked, scores, mask)
    return tape.derived(masked, scores, (scores, mask), derivatives.passes, (scores, mask))


def _softmax(tape: Tape, scores: Tensor) -> Tensor:
    """Probabilities (..., N, M), with zeros in rows of minus infinity; frees the scores."""
    out = tape.softmax("softmax", scores)
    is_infinite = tape.computed("softmax.eq", *scores.shape, item_bytes=BOOL_BYTES, reads=(scores,))
    rows = (*scores.shape[:-1], 1)
    is_masked = tape.computed("softmax.all", *rows, item_bytes=BOOL_BYTES, reads=(is_infinite,))
    zero = tape.constant("softmax.zero", out)
    tape.record("softmax.fill", "copy", reads=(out, is_masked, zero))
    tape.free(zero, is_masked, is_infinite)
    tape.free(scores)
    return out
