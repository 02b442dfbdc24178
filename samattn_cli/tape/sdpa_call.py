"""A call of scaled_dot_product_attention, and where it runs: what torch chooses the kernel by."""

from __future__ import annotations

from typing import Literal

from ..encoder.torch_versions import DEFAULT, Version
from ..records import dataclass, replace
from .immutable import immutable
from .storage import Shape

Kernel = Literal["cudnn", "flash", "efficient", "math"]
"""As in the names of ATen's operators; math is the unfused products, which make the matrix of scores."""

BATCHED_DIMS = 4
UNBATCHED_DIMS = 3


@immutable(frozen=True, eq=True)
class Operand:
    """A tensor of a call.

    Attributes:
        shape, stride: of queries, keys and values (B, h, N, d), or (h, N, d). The numbers may be formulas.
        dtype: such as "float16" or "bool".
        needs_grad: whether autograd needs its gradient.
        offset: of its first element in its storage, in elements.
    """

    shape: Shape
    stride: Shape
    dtype: str
    needs_grad: bool = False
    offset: int = 0

    @property
    def is_half(self) -> bool:
        """Whether its numbers have 16 bits."""
        return self.dtype in {"float16", "bfloat16"}

    def batched(self) -> Operand:
        """The operand with a batch of 1 in front."""
        return Operand((1, *self.shape), (0, *self.stride), self.dtype, self.needs_grad, self.offset)


@dataclass(frozen=True)
class Call:
    """A call. Its scale does not matter for the choice.

    Attributes:
        q, k, v: (B, h, N, d), (B, h, M, d), (B, h, M, e).
        mask: broadcasts to (B, h, N, M).
        is_deterministic: whether ``torch.use_deterministic_algorithms(True)`` is set.
    """

    q: Operand
    k: Operand
    v: Operand
    mask: Operand | None = None
    dropout: float = 0.0
    is_causal: bool = False
    enable_gqa: bool = False
    is_deterministic: bool = False

    @property
    def operands(self) -> tuple[Operand, Operand, Operand]:
        """Queries, keys and values."""
        return self.q, self.k, self.v

    @property
    def needs_grad(self) -> bool:
        """Whether queries, keys or values need a gradient."""
        return self.q.needs_grad or self.k.needs_grad or self.v.needs_grad

    def has_dims(self, dims: int) -> bool:
        """Whether queries, keys and values all have so many dimensions."""
        return all(len(operand.shape) == dims for operand in self.operands)

    def batched(self) -> Call:
        """The call with a batch of 1 in front, if queries, keys and values have three dimensions."""
        if not self.has_dims(UNBATCHED_DIMS):
            return self
        q, k, v = (operand.batched() for operand in self.operands)
        mask = self.mask
        if mask is not None and len(mask.shape) == UNBATCHED_DIMS:
            mask = mask.batched()
        return replace(self, q=q, k=k, v=v, mask=mask)


@dataclass(frozen=True)
class Target:
    """Where a call runs: the compute capability of the device, the version of torch, and whether cuDNN's kernel is on.

    ``torch.backends.cuda.enable_cudnn_sdp(False)`` switches it off, as `samattn measure` does.
    """

    capability: Version = (8, 0)
    torch: Version = DEFAULT
    has_cudnn: bool = True

    @classmethod
    def of(cls, compute_capability: float) -> Target:
        """The target of a compute capability as device files write it, such as 8.9."""
        return cls(divmod(round(compute_capability * 10), 10))

    @property
    def number(self) -> str:
        """The compute capability as NVIDIA writes it."""
        return f"{self.capability[0]}.{self.capability[1]}"


AMPERE = Target()
"""An A100, where no device is named: torch chooses the same for every encoder here on 8.0, 8.6, 8.9 and 12.0."""
