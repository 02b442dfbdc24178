"""What timm writes differently in TinyViT; the rest is `tape.py`.

Source: timm 1.0.31, models/tiny_vit.py: Attention. Shapes: M = B * windows, N tokens of a window, h heads, d head width.
"""

from __future__ import annotations

from functools import partial

from ...tape.kernels import attention as attention_kernel
from ...tape.tensor import Tensor
from ...units import INT64_BYTES
from . import tape as reference


class Code(reference.Code):
    """The steps of the attention as in timm: it has the biases before all else, and scales queries in place of scores."""

    flattens = True

    def bias_first(self) -> Tensor:
        """(h, N, N). In evaluation the first forward makes them, and a cache has them from then on."""
        tape, (high, wide), heads = self.tape, self.layer.windows.size, self.layer.stage.num_heads
        N = offsets = high * wide
        index = tape.buffer(N, N, item_bytes=INT64_BYTES)
        if tape.in_training_mode:
            table = tape.parameter("attention_biases", heads, offsets)
            return tape.gather("biases", table, (index,), heads, N, N)
        tape.unused_weight("attention_biases", heads, offsets)
        with tape.in_first_forward():
            made = tape.rows("biases", tape.resident((heads, offsets)), (index,), heads, N, N)
        tape.cached_for_good(made)
        return tape.resident((heads, N, N))

    def eager(
        self, q: Tensor, k: Tensor, v: Tensor, normed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Scaled queries and probabilities are kept to the end."""
        assert bias is not None  # noqa: S101 - for the type checker
        tape = self.tape
        scaled = tape.scale("scale", q)
        raw = tape.scores(scaled, k)  # (M, h, N, N)
        scores = tape.add("add_bias", raw, bias)
        tape.free(raw)
        probabilities = tape.softmax("softmax", scores)
        tape.free(scores)
        values = tape.matmul("values", probabilities, v)
        tape.free(normed)
        y = reference.merged(tape, values)
        tape.free(values, keep=y)
        return y, scaled, probabilities

    def sdpa(
        self, q: Tensor, k: Tensor, v: Tensor, normed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The biases are its mask."""
        assert bias is not None  # noqa: S101 - for the type checker
        tape = self.tape
        values = attention_kernel(tape, "sdpa", q, k, v, bias)
        tape.free(normed)
        y = reference.merged(tape, values)
        tape.free(values, keep=y)
        return (y,)


BLOCKS = {"tiny_vit": partial(reference.block, code=Code)}
