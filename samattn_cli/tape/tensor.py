"""Tensors without data: shape, strides and the storage that they view, as in PyTorch.

Strides decide whether a reshape is a view or a copy, and so whether it takes memory and time. The rules are those of ATen:
TensorUtils.cpp (computeStride) for views, TensorGeometry for contiguity, TensorIterator.cpp (compute_strides) for the result
of an elementwise operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from .graph import NO_GRAPH, Edge, Node
from .immutable import immutable, maker
from .storage import Dim, Shape, Storage
from .symbols.lanes import Lanes

if TYPE_CHECKING:
    from .tape import Tape

IMAGE_DIMS = 4
"""(B, C, H, W): only tensors of this many dimensions can be channels-last."""

CHANNELS_LAST = (1, 3, 2, 0)
"""Its dimensions from the fastest in memory to the slowest, where it is."""


def ceil_div(a: Dim, b: Dim) -> Dim:
    """Divide and round up."""
    return -(-a // b)


@immutable(frozen=True, eq=False)
class Tensor:
    """A view of a storage.

    Attributes:
        shape: in elements.
        steps: its strides, in elements; None for row-major strides of numbers, which are worked out where they are read. Then
            it has elements.
        storage: its memory.
        item_bytes: bytes of a number.
        grad_fn: the node that made it; None if it needs no gradient.
        is_view: whether it was made as a view of another tensor, which autograd keeps alive with it.
    """

    shape: Shape
    steps: Shape | None
    storage: Storage
    item_bytes: int
    grad_fn: Edge | None = None
    is_view: bool = False

    @property
    def stride(self) -> Shape:
        """In elements."""
        steps = self.steps
        return row_major(self.shape) if steps is None else steps

    @property
    def elements(self) -> Dim:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> Dim:
        """Bytes of its elements."""
        return prod(self.shape) * self.item_bytes

    @property
    def distinct_bytes(self) -> Dim:
        """Bytes of its elements; elements that a broadcast repeats count once."""
        steps = self.steps
        if steps is None or (self.has_numbers and 0 not in steps):
            return prod(self.shape) * self.item_bytes
        nbytes: Dim = self.item_bytes
        for size, step in zip(self.shape, steps, strict=True):
            if not isinstance(step, int) or step:
                nbytes = nbytes * size
        return nbytes

    @property
    def has_numbers(self) -> bool:
        """Whether its memory has a size without symbols: then its strides are numbers, which are quick to compare."""
        return self.storage.nbytes.__class__ is int

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie in row-major order; dimensions of size 1 do not matter."""
        steps = self.steps
        return steps is None or is_contiguous(self.shape, steps)

    @property
    def is_dense(self) -> bool:
        """Whether its elements fill their memory, in some order (ATen's is_non_overlapping_and_dense)."""
        return self.is_contiguous or lies_in_order(self.shape, self.stride, reversed(_memory_order([self])))

    @property
    def is_channels_last(self) -> bool:
        """Whether (B, C, H, W) lies in memory as (B, H, W, C) (ATen's is_channels_last_strides_2d)."""
        return is_channels_last(self.shape, self.stride)

    def made_by(self, grad_fn: Edge | None) -> Tensor:
        """The same tensor with another `grad_fn`."""
        return _made(self.shape, self.steps, self.storage, self.item_bytes, grad_fn, self.is_view)

    def seen(self, *, is_view: bool) -> Tensor:
        """The same tensor, which autograd takes as a view of another or not (_unsafe_view)."""
        if is_view == self.is_view:
            return self
        return _made(self.shape, self.steps, self.storage, self.item_bytes, self.grad_fn, is_view)

    def stored_in(self, storage: Storage) -> Tensor:
        """The same view of another storage."""
        return _made(self.shape, self.steps, storage, self.item_bytes, self.grad_fn, self.is_view)

    def sized(self, shape: Shape, stride: Shape) -> Tensor:
        """The same memory, read with another shape and other strides."""
        return _made(shape, stride, self.storage, self.item_bytes, self.grad_fn, self.is_view)

    def permute(self, *order: int) -> Tensor:
        """The dimensions in another order; no copy."""
        size_of, step_of = self.shape.__getitem__, self.stride.__getitem__
        return self._view(tuple(map(size_of, order)), tuple(map(step_of, order)), _permuted_back, order)

    def transpose(self, one: int, other: int) -> Tensor:
        """Two dimensions, counted from either end, exchanged; no copy."""
        order = list(range(len(self.shape)))
        order[one], order[other] = order[other], order[one]
        return self.permute(*order)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new dimension of size 1 at `dim`; no copy."""
        whole, stride = self.shape, self.stride
        step = whole[dim] * stride[dim] if dim < len(whole) else 1
        shape = (*whole[:dim], 1, *whole[dim:])
        return self._view(shape, (*stride[:dim], step, *stride[dim:]), _reshaped_back, "squeeze", whole)

    def narrow(self, shape: Shape) -> Tensor:
        """The leading corner of `shape`; no copy. Each dimension that is cut is one slice in torch."""
        out = self
        for dim, size in enumerate(shape):
            out = out.slice(dim, 0, size)
        return out

    def slice(self, dim: int, start: int, stop: Dim | None = None, step: int = 1) -> Tensor:
        """``x[..., start:stop:step]`` along `dim`; no copy. A slice of the whole dimension is `x` itself, as in torch."""
        whole = self.shape
        size = ceil_div((whole[dim] if stop is None else stop) - start, step)
        if step == 1 and size == whole[dim]:
            return self
        shape, stride = list(whole), list(self.stride)
        shape[dim], stride[dim] = size, stride[dim] * step
        return self._view(tuple(shape), tuple(stride), _uncut, whole)

    def select(self, dim: int) -> Tensor:
        """One place along `dim`, without that dimension; no copy."""
        shape, stride = list(self.shape), list(self.stride)
        del shape[dim], stride[dim]
        return self._view(tuple(shape), tuple(stride), _uncut, self.shape)

    def expand(self, dim: int, size: Dim) -> Tensor:
        """A dimension of size 1 repeated; no copy, and no backward."""
        shape, stride = self.shape, self.stride
        return self._view(
            (*shape[:dim], size, *shape[dim + 1 :]), (*stride[:dim], 0, *stride[dim + 1 :]), None
        )

    def expanded(self, shape: Shape) -> Tensor:
        """Broadcast to `shape`: repeats dimensions of size 1 and adds leading ones; no copy, and no backward."""
        if shape is self.shape:
            return self
        more = len(shape) - len(self.shape)
        out = self.sized((1,) * more + self.shape, (0,) * more + self.stride) if more else self
        for dim, (own, size) in enumerate(zip(out.shape, shape, strict=True)):
            if own is not size and _is_repeated(own, size):
                out = out.expand(dim, size)
        return out

    def expand_to(self, *shape: Dim) -> Tensor:
        """``x.expand(*shape)``: no copy; the gradient is summed."""
        out = self.expanded(shape)
        return self._view(out.shape, out.steps, _summed_back, self.shape)

    def channels_last(self) -> Tensor:
        """(B, C, H, W) in the memory order (B, H, W, C)."""
        B, C, H, W = self.shape
        b, h, w, c = contiguous_stride((B, H, W, C))
        return self.sized(self.shape, (b, c, h, w))

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The tensors along a dimension; no copy."""
        at = dim % len(self.shape)
        shapes = ((*self.shape[:at], *self.shape[at + 1 :]),) * self.shape[at]
        steps = None if at == 0 and self.steps is None else (*self.stride[:at], *self.stride[at + 1 :])

        def zeros(tape: Tape, like: Tensor, shape: Shape) -> Tensor:
            """One zero, repeated (unbind_backward in FunctionsManual.cpp)."""
            return tape.constant("zeros", like).expanded(shape)

        return self._parts(shapes, steps, zeros, lambda tape, parts: tape.stack("stack", parts, at))

    def split(self, sizes: Sequence[Dim], dim: int) -> tuple[Tensor, ...]:
        """Consecutive parts along `dim`, like torch's split and chunk; no copy."""
        at = dim % len(self.shape)
        shapes = tuple((*self.shape[:at], size, *self.shape[at + 1 :]) for size in sizes)

        def zeros(tape: Tape, like: Tensor, shape: Shape) -> Tensor:
            return tape.constant("zeros", like, *shape)

        return self._parts(shapes, self.stride, zeros, lambda tape, parts: tape.cat("unsplit", parts, at))

    def _parts(
        self,
        shapes: tuple[Shape, ...],
        steps: Shape | None,
        zeros: Callable[[Tape, Tensor, Shape], Tensor],
        join: Callable[[Tape, tuple[Tensor, ...]], Tensor],
    ) -> tuple[Tensor, ...]:
        """Views of `shapes` with one node; its backward joins their gradients, with `zeros` for a missing one."""

        def backward(tape: Tape, *gradients: Tensor | None) -> tuple[Tensor]:
            like = next(gradient for gradient in gradients if gradient is not None)
            missing = {i: zeros(tape, like, shapes[i]) for i, g in enumerate(gradients) if g is None}
            out = join(tape, tuple(missing.get(i) or g for i, g in enumerate(gradients)))  # type: ignore[misc]
            tape.free(*missing.values())
            return (out,)

        views = tuple([self._view(shape, steps, None) for shape in shapes])
        if self.grad_fn is None:
            return views
        if self.grad_fn is NO_GRAPH:
            return tuple([view.made_by(NO_GRAPH) for view in views])
        node = Node(backward, (self.grad_fn,), outputs=len(shapes))
        return tuple(view.made_by((node, index)) for index, view in enumerate(views))

    def view(self, *shape: Dim) -> Tensor:
        """The same elements in another shape; no copy.

        Raises:
            ValueError: if PyTorch would refuse a view.
        """
        out = self.viewed(shape)
        if out is None:
            raise ValueError(f"no view of {self.shape} with strides {self.stride} has the shape {shape}")
        return out

    def viewed(self, shape: Shape) -> Tensor | None:
        """`view`, or None if only a copy can have that shape."""
        whole, stays_row_major = self.shape, False
        if self.steps is None:
            elements = prod(shape)
            stays_row_major = elements.__class__ is int and elements == prod(whole)
        steps = None if stays_row_major else view_stride(self, shape)
        if steps is None and not stays_row_major:
            return None
        return self._view(shape, steps, _reshaped_back, "reshape", whole)

    def _view(
        self, shape: Shape, steps: Shape | None, backward: Callable[..., tuple[Tensor]] | None, *given: Any
    ) -> Tensor:
        """A view, whose backward takes the tape, the gradient, and what is `given`; it has none if the backward is None."""
        edge = self.grad_fn
        if edge is not None and edge is not NO_GRAPH:
            edge = backward and (Node(backward, (edge,), given), 0)
        elif backward is None:
            edge = None
        return _made(shape, steps, self.storage, self.item_bytes, edge, True)


_made = maker(Tensor)


def _is_repeated(own: Dim, size: Dim) -> bool:
    """Whether a dimension has to be repeated to have a size; a symbol may stand for 1."""
    if size.__class__ is not int and isinstance(own, int | Lanes) and own == 1:
        return True
    return bool(size != own)


def _permuted_back(_: Tape, gradient: Tensor, order: tuple[int, ...]) -> tuple[Tensor]:
    return (gradient.permute(*sorted(range(len(order)), key=order.__getitem__)),)


def _reshaped_back(tape: Tape, gradient: Tensor, name: str, whole: Shape) -> tuple[Tensor]:
    return (tape.reshape(name, gradient, *whole),)


def _summed_back(tape: Tape, gradient: Tensor, own: Shape) -> tuple[Tensor]:
    return (tape.sum_to("sum", gradient, own),)


def _uncut(tape: Tape, gradient: Tensor, whole: Shape) -> tuple[Tensor]:
    return (tape.pad("uncut", gradient, *whole),)


def is_contiguous(shape: Shape, stride: Shape) -> bool:
    """Whether elements lie in row-major order; dimensions of size 1 do not matter."""
    expected: Dim = 1
    for size, step in zip(shape[::-1], stride[::-1], strict=True):
        if size != 1:
            if step != expected:
                return False
            expected = expected * size
    return True


def is_channels_last(shape: Shape, stride: Shape) -> bool:
    """Whether (B, C, H, W) lies in memory as (B, H, W, C), possibly with gaps (ATen's is_channels_last_strides_2d)."""
    if len(shape) != IMAGE_DIMS or stride[1] == 0:
        return False
    least: Dim = 0
    for dim in CHANNELS_LAST:
        step, size = stride[dim], shape[dim]
        if step < least or (dim == 0 and least == stride[1]):
            return False
        least = step * size if size > 1 else step
    return True


def lies_in_order(shape: Shape, stride: Shape, inwards_out: Iterable[int]) -> bool:
    """Whether strides have no gaps, for an order of dimensions; those of size 1 do not matter."""
    order = tuple(inwards_out)[::-1]
    return is_contiguous(tuple([shape[dim] for dim in order]), tuple([stride[dim] for dim in order]))


def contiguous_stride(shape: Shape) -> Shape:
    """Row-major strides."""
    stride: list[Dim] = []
    step: Dim = 1
    for size in shape[::-1]:
        stride.append(step)
        step = step * size
    return tuple(stride[::-1])


row_major = lru_cache(maxsize=1024)(contiguous_stride)
"""The same for shapes that consist of numbers, which a pass has again and again. It must not be given others: it would compare them."""


def dense_stride_like(*tensors: Tensor) -> Shape:
    """The strides of an elementwise result of `tensors`, all of its shape: their memory order, without gaps."""
    first = tensors[0]
    if first.is_contiguous:
        return row_major(first.shape) if first.steps is None else contiguous_stride(first.shape)
    is_last = len(first.shape) == IMAGE_DIMS and all(
        lies_in_order(each.shape, each.stride, CHANNELS_LAST) for each in tensors
    )  # TensorIterator's fast path, which gives a dimension of size 1 its usual stride
    order = list(reversed(CHANNELS_LAST)) if is_last else _memory_order(tensors)
    dense = contiguous_stride(tuple(first.shape[i] for i in order))
    return tuple(dense[order.index(i)] for i in range(len(order)))


def copied_stride(x: Tensor) -> Shape:
    """The strides of a clone or of a copy in another type: those of `x`, also along sides of 1, if it has no gaps.

    Source: clone and _to_copy of ATen with preserve_format, which make an elementwise result only of what has gaps.
    """
    return x.stride if x.is_dense else dense_stride_like(x)


def _memory_order(tensors: Sequence[Tensor]) -> list[int]:
    """Dimensions from the largest stride to the smallest, with ATen's order for equal strides (reorder_dimensions)."""
    order = list(reversed(range(len(tensors[0].shape))))
    laid_out = [(tensor.stride, tensor.shape) for tensor in tensors]
    for start in range(1, len(order)):
        at = start
        for other in reversed(range(start)):
            comparison = _compare_dims(laid_out, order[other], order[at])
            if comparison > 0:
                order[other], order[at] = order[at], order[other]
                at = other
            elif comparison < 0:
                break
    return order[::-1]


def _compare_dims(laid_out: Sequence[tuple[Shape, Shape]], left: int, right: int) -> int:
    """1 if dimension `left` has the larger stride (or size), -1 if the smaller, in the first that decides it.

    `laid_out` has the strides and the shape of each tensor.
    """
    for stride, shape in laid_out:
        one, other = stride[left], stride[right]
        if one == 0 or other == 0:
            continue
        if one != other:
            return 1 if one > other else -1
        if shape[left] > shape[right]:
            return 1
    return 0


def view_stride(tensor: Tensor, shape: Shape) -> Shape | None:
    """Strides of `tensor` viewed as `shape`, or None if only a copy can have that shape (ATen's computeStride)."""
    stride: list[Dim] = []
    old, steps = tensor.shape, tensor.stride
    base, chunk, at = steps[-1], 1, len(shape) - 1
    for dim in range(len(old) - 1, -1, -1):
        chunk = chunk * old[dim]
        if dim and (
            old[dim - 1] == 1 or steps[dim - 1] == chunk * base
        ):  # the next dimension continues the chunk
            continue
        covered: Dim = 1
        while at >= 0 and (covered != chunk or shape[at] == 1):
            stride.append(covered * base)
            covered = covered * shape[at]
            at -= 1
        if covered != chunk:
            return None
        base, chunk = steps[dim - 1], 1
    return tuple(stride[::-1]) if at < 0 else None
