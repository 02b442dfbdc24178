"""Operations of the Tape that compute a number from many: means, norms, softmax."""

from __future__ import annotations

from ..units import ITEM_BYTES
from . import derivatives
from .ops import ELEMENTWISE_FLOPS
from .tape_elementwise import Computing
from .tensor import Tensor, contiguous_stride

STATISTIC_BYTES = 4
"""LayerNorm keeps mean and 1/std in float32, whatever the dtype of its input (at CUDA)."""


class Reducing(Computing):
    """Reductions."""

    def softmax(self, name: str, x: Tensor, *, in_float32: bool = False) -> Tensor:
        """Softmax over the last dimension; in float32 where autocast or ``dtype=torch.float32`` asks for it.

        At CUDA the kernel itself widens float16; bfloat16 is copied before it.
        """
        widens = in_float32 or self.autocast_bytes is not None
        item_bytes = ITEM_BYTES["float32"] if widens else x.item_bytes
        wide = x if self.half_to_float else self.cast(f"{name}.cast".strip("."), x, item_bytes)
        out = self.new(x.shape, contiguous_stride(x.shape), item_bytes)
        flops = ELEMENTWISE_FLOPS["softmax"] * x.elements
        self.record(name, "softmax", reads=(wide,), writes=(out,), elementwise_flops=flops)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.softmax(wide, out), saves=(out,))

    def mean(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The mean over `dim`, kept as a dimension of size 1."""
        shape = tuple(1 if i == dim else size for i, size in enumerate(x.shape))
        (out,) = self.make(name, "mean", (x,), shape)
        return self.derived(name, out, (x,), derivatives.mean(x, dim))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """The Euclidean norm over the last dimension, kept as a dimension of size 1."""
        wide = self._for_statistics(name, x)
        (out,) = self.make(name, "norm", (wide,), (*x.shape[:-1], 1))
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.norm(wide, out), saves=(wide, out))

    def normalize(self, name: str, x: Tensor) -> Tensor:
        """``F.normalize(x, dim=-1)``: over its norm, which is bounded below."""
        norm = self.norm(f"{name}.norm", x)
        bounded = self.clamp(f"{name}.clamp", norm)
        self.free(norm)
        out = self.div(name, x, bounded.expand_to(*x.shape))
        self.free(bounded)
        return out

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """``nn.LayerNorm`` over the last dimension, as the submodule `name`; its statistics are memory too."""
        with self.module(name):
            width = x.shape[-1]
            weights = [self.parameter("weight", width), self.parameter("bias", width)]
            given, x = x, self._for_statistics("", x)
            out = self.like(x, *x.shape)
            stats = tuple(self.new((x.elements // width,), (1,), STATISTIC_BYTES) for _ in ("mean", "rstd"))
            used = [self.weight(weight) for weight in weights]
            self.record(
                "",
                "layer_norm",
                reads=(x, *used),
                writes=(out, *stats),
                parameters=tuple(weights),
                elementwise_flops=ELEMENTWISE_FLOPS["layer_norm"] * x.elements,
                frees=tuple(stat.storage for stat in stats),
            )
            if x is not given:
                self.free(x)
            derivative = derivatives.layer_norm(x, *used, stats=stats)
            return self.derived("", out, (x, *used), derivative, saves=(x, *used, *stats))
