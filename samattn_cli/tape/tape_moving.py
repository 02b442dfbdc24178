"""Operations of the Tape that move numbers and compute none: reshape, pad, cat, roll, rows of tables, constants."""

from __future__ import annotations

from collections.abc import Sequence

from ..units import INT64_BYTES
from . import derivatives
from .ops import Parameter
from .tape_casting import Casting
from .tensor import Dim, Tensor, contiguous_stride


class Moving(Casting):
    """Operations that move numbers."""

    def reshape(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in another shape: a view where strides allow it, else a copy."""
        out = x.viewed(shape)
        if out is not None:
            return out
        return self._copy(name, x).view(*shape).seen(is_view=False)

    def contiguous(self, name: str, x: Tensor) -> Tensor:
        """`x` in row-major order: itself if it is, else a copy."""
        return x if x.is_contiguous else self._copy(name, x)

    def pad(self, name: str, x: Tensor, *shape: Dim) -> Tensor:
        """`x` in the corner of zeros of `shape`."""
        out = self.like(x, *shape)
        self.record(name, "pad", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.pad(x))

    def stack(self, name: str, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """``torch.stack``: tensors of one shape, one after the other along a new dimension."""
        shape = tensors[0].shape
        at = dim % (len(shape) + 1)
        (out,) = self.make(name, "copy", tuple(tensors), (*shape[:at], len(tensors), *shape[at:]))
        return self.derived(name, out, tuple(tensors), derivatives.stack(tensors, at))

    def gather(self, name: str, parameter: Parameter, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """Rows of a weight at `index`: (*shape)."""
        self.unrecorded.append(parameter)
        return self.rows(name, self.weight(parameter), index, *shape)

    def rows(self, name: str, x: Tensor, index: tuple[Tensor, ...], *shape: Dim) -> Tensor:
        """``x[index]``: (*shape). Autograd keeps the index."""
        out = self.like(x, *shape)
        reads = (out, *index)  # a row is read for each that is written
        self.record(name, "gather", reads=reads, writes=(out,))
        return self.derived(name, out, (x,), derivatives.gather(x), saves=index)

    def gather_along(self, name: str, x: Tensor, index: Tensor) -> Tensor:
        """``torch.gather`` along a dimension: in the shape of `index`. Autograd keeps both."""
        out = self.like(x, *index.shape)
        self.record(name, "gather", reads=(out, index), writes=(out,))
        return self.derived(name, out, (x,), derivatives.gather_along(x, index), saves=(x, index))

    def argsort(self, name: str, x: Tensor) -> Tensor:
        """``torch.argsort``: int64; the sorted numbers are made too, and dropped."""
        values, order = self.like(x, *x.shape), self.new(x.shape, contiguous_stride(x.shape), INT64_BYTES)
        self.record(name, "index", reads=(x,), writes=(values, order), frees=(values.storage,))
        return order

    def roll(self, name: str, x: Tensor, *dims: int) -> Tensor:
        """``torch.roll`` along `dims`: a copy for each, behind one in row-major order; so it is on CUDA and the CPU.

        Source: roll_common and roll_cuda of ATen. A shift by nothing copies too.
        """
        out = x
        for dim in (None, *dims):
            before = out
            out = self.contiguous(name, x) if dim is None else self.like(x, *x.shape)
            if dim is not None:
                self.record(name, "copy", reads=(before,), writes=(out,))
                self.free(before, keep=x)
        out = out.made_by(None)
        return self.derived(name, out, (x,), derivatives.roll(dims))

    def repeat(self, name: str, x: Tensor, *times: Dim) -> Tensor:
        """``x.repeat(*times)`` and ``x.tile(*times)``: a copy, as often as `times` says along each dimension."""
        sizes = (*(1 for _ in times[len(x.shape) :]), *x.shape)
        out = self.like(x, *(size * often for size, often in zip(sizes, times, strict=True)))
        self.record(name, "copy", reads=(x,), writes=(out,))
        return self.derived(name, out, (x,), derivatives.repeat(x, times))

    def cat(self, name: str, parts: Sequence[Tensor], dim: int = -1) -> Tensor:
        """`parts` joined along `dim`, in the widest of their types."""
        first, at = parts[0].shape, dim % len(parts[0].shape)
        length = sum(part.shape[at] for part in parts)
        item_bytes = max(part.item_bytes for part in parts)
        shape = (*first[:at], length, *first[at + 1 :])
        out = self.new(shape, contiguous_stride(shape), item_bytes)
        if all(part.is_channels_last for part in parts):
            out = out.channels_last()
        self.record(name, "cat", reads=tuple(parts), writes=(out,))
        return self.derived(name, out, tuple(parts), derivatives.cat(parts, at))

    def masked_fill(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        """A number where `mask`, which broadcasts to `x`, is true. Autograd keeps the mask."""
        out = self.like(x, *x.shape)
        self.record(name, "copy", reads=(x, mask), writes=(out,))
        return self.derived(name, out, (x,), derivatives.masked_fill(mask), saves=(mask,))

    def constant(self, name: str, like: Tensor, *shape: Dim) -> Tensor:
        """Zeros, ones, ones on a diagonal, random numbers: made on the spot, in the type of `like`."""
        return self.computed(name, *shape, item_bytes=like.item_bytes)

    def integers(self, name: str, *shape: Dim, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """An int64 tensor made by `torch.arange` or index arithmetic."""
        return self.computed(name, *shape, item_bytes=INT64_BYTES, reads=reads)

    def computed(self, name: str, *shape: Dim, item_bytes: int, reads: tuple[Tensor, ...] = ()) -> Tensor:
        """A tensor that no gradient goes through: a constant, a mask, an index. It is not counted as FLOPs."""
        out = self.new(shape, contiguous_stride(shape), item_bytes)
        self.record(name, "index", reads=reads, writes=(out,))
        return out
