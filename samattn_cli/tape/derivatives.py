"""The backward of each operation: its products, allocations and frees, in PyTorch's order.

Source: tools/autograd/derivatives.yaml and torch/csrc/autograd/FunctionsManual.cpp of PyTorch. Each function takes the
Tape, the gradient of the result and what the forward gave, such as its operands. It returns the gradient of each edge. PyTorch's
generated code computes several gradients in the alphabetical order of the operands' names. A gradient that no operand needs is not
computed; if a function returns one all the same, because it costs nothing, the engine frees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ..records import replace
from .graph import Sum
from .ops import ELEMENTWISE_FLOPS, InputLayout
from .storage import Dim, Shape
from .tensor import CHANNELS_LAST, Tensor, contiguous_stride, dense_stride_like, lies_in_order

if TYPE_CHECKING:
    from .tape import Tape

BOOL_BYTES = 1

Gradients = tuple[Tensor | Sum | None, ...]


def where_needed(operand: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """`tensors`, from which the gradient of `operand` is computed, if `operand` needs one; otherwise nothing."""
    return tensors if operand.grad_fn else ()


def to(operand: Tensor, gradient: Tensor) -> Sum:
    """A gradient that the engine reduces to the shape and type of its operand."""
    return Sum(gradient, operand.shape, operand.item_bytes)


def addmm(tape: Tape, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Gradients:
    """A linear layer with a bias, on contiguous rows: edges bias, x, weight."""
    grad_x = _grad_input(tape, g, x, weight)
    return to(bias, g), grad_x, _grad_weight(tape, g, x, weight)


def mm(tape: Tape, g: Tensor, x: Tensor, weight: Tensor) -> Gradients:
    """A product of rows and a weight: edges x, weight."""
    grad_weight = _grad_weight(tape, g, x, weight)
    return _grad_input(tape, g, x, weight), grad_weight


def _grad_input(tape: Tape, g: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    return tape.product("grad_input", "linear", g, weight) if x.grad_fn else None


def _grad_weight(tape: Tape, g: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    """The gradient of a weight; it is transposed twice, by mm_mat2_backward and because the weight was transposed."""
    if not weight.grad_fn:
        return None
    return tape.product("grad_weight", "linear", g.permute(1, 0), x).seen(is_view=True)


def batched_mm(tape: Tape, g: Tensor, x: Tensor, weight: Tensor) -> Gradients:
    """A product of (N, m, k) and a frozen weight (n, k), which is repeated N times: edge x."""
    repeated = weight.sized((x.shape[0], *weight.shape), (0, *weight.stride))
    return (tape.product("grad_input", "linear", g, repeated),)


def bmm(tape: Tape, g: Tensor, a: Tensor, b: Tensor) -> Gradients:
    """A batched product: edges a, b."""
    grad_b = tape.product("grad_b", "matmul", a.permute(0, 2, 1), g) if b.grad_fn else None
    return tape.product("grad_a", "matmul", g, b.permute(0, 2, 1)) if a.grad_fn else None, grad_b


def conv2d(tape: Tape, g: Tensor, macs: Dim, x: Tensor, weight: Tensor, *bias: Tensor) -> Gradients:
    """A convolution, with or without a bias. The gradients of x and of the weight each take the MACs of the forward."""
    factors = (*where_needed(weight, x), *where_needed(x, weight))  # one for each product
    layout = InputLayout(
        x.shape, x.stride, weight.shape, gives_input=bool(x.grad_fn), gives_weight=bool(weight.grad_fn)
    )
    grad_x, *rest = _gradients_of(
        tape, "conv2d", (g, *factors), (x, weight, *bias), macs=len(factors) * macs, layout=layout
    )
    if not x.is_channels_last:
        return grad_x, *rest
    grad_weight, *grad_bias = rest
    return _channels_last(grad_x), _channels_last(grad_weight), *grad_bias


def _channels_last(gradient: Tensor | None) -> Tensor | None:
    return gradient and gradient.channels_last()


def max_pool(tape: Tape, g: Tensor, x: Tensor, index: Tensor) -> Gradients:
    """Maxima over squares: the gradient goes to the place of each maximum."""
    (out,) = tape.make(
        "grad_input",
        "max_pool_backward",
        (g, index),
        x.shape,
        like=g,
        layout=InputLayout(x.shape, x.stride),
    )
    return (out.channels_last() if x.is_channels_last else out,)


def pixel_shuffle(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """Channels to squares of pixels: the gradient goes back in one copy, which is contiguous."""
    return tape.make("grad_input", "copy", (g,), x.shape)


def unfold(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """Squares that overlap: their gradients are added; the result is contiguous, in memory as large as the columns (Col2Im.cu)."""
    (columns,) = tape.make("grad_input", "fold", (g,), g.shape)
    return (columns.sized(x.shape, contiguous_stride(x.shape)),)


def interpolate(tape: Tape, g: Tensor, x: Tensor, mode: str) -> Gradients:
    """Resizing: the memory order of the gradient stays, except for linear and bicubic, which are contiguous."""
    (out,) = tape.make("grad_input", f"upsample_{mode}", (g,), x.shape)
    keeps_order = mode not in {"linear", "bicubic"}
    return (out.channels_last() if keeps_order and g.is_channels_last else out,)


def _gradients_of(
    tape: Tape, kind: str, reads: tuple[Tensor, ...], operands: tuple[Tensor, ...], **costs: Any
) -> tuple[Tensor | None, ...]:
    """The gradients that one kernel computes, for those of `operands` that need one."""
    shapes = [operand.shape for operand in operands if operand.grad_fn]
    gradients = iter(tape.make("backward", kind, reads, *shapes, **costs))
    return tuple(next(gradients) if operand.grad_fn else None for operand in operands)


def passes(_: Tape, g: Tensor, *operands: Tensor) -> Gradients:
    """An addition or a copy: the gradient goes to each operand unchanged."""
    return tuple([to(operand, g) for operand in operands])


def add_to_part(tape: Tape, g: Tensor, whole: Tensor, part: Tensor) -> Gradients:
    """An addition into a part of a tensor, in place: see `_change_part`."""
    return _change_part(tape, g, whole, part, copies=False)


def copy_into_part(tape: Tape, g: Tensor, whole: Tensor, part: Tensor) -> Gradients:
    """A copy into a part of a tensor, in place: see `_change_part`."""
    return _change_part(tape, g, whole, part, copies=True)


def _change_part(tape: Tape, g: Tensor, whole: Tensor, part: Tensor, *, copies: bool) -> Gradients:
    """An addition or a copy into a part of a tensor, in place (CopySlices): edges whole, and the operand for the part.

    The gradient of the whole is copied, and then that of the part. The gradient of the part is replaced: by itself for an
    addition, by zeros for a copy.
    """
    (grad_whole,) = tape.make("grad_whole", "copy", (g,), whole.shape)
    into = replace(part, storage=grad_whole.storage, grad_fn=None)
    (grad_part,) = tape.make("grad_part", "copy", (into,), part.shape)
    zeros = tape.make("zeros", "copy", (), part.shape, like=part) if copies else ()
    tape.record("put", "copy", reads=(*(zeros or (grad_part,)), into))
    tape.free(*zeros)
    return grad_whole, grad_part


def as_strided(tape: Tape, g: Tensor, whole: Tensor) -> Gradients:
    """A view of a tensor that was changed in place: its gradient, put into zeros of the shape of the whole."""
    (grad,) = tape.make("grad_whole", "copy", (g,), whole.shape)
    return (grad.seen(is_view=True),)


def sub(tape: Tape, g: Tensor, a: Tensor, b: Tensor) -> Gradients:
    """A difference."""
    return to(a, g), to(b, tape.elementwise("neg", "neg", g)) if b.grad_fn else None


def scale(tape: Tape, g: Tensor) -> Gradients:
    """A product with a number."""
    return (tape.elementwise("grad_input", "mul", g),)


def neg(tape: Tape, g: Tensor) -> Gradients:
    """A negative."""
    return (tape.elementwise("grad_input", "neg", g),)


def mul(tape: Tape, g: Tensor, a: Tensor, b: Tensor) -> Gradients:
    """A product of two tensors: edges a, b."""
    grad_b = to(b, tape.elementwise("grad_other", "mul", g, a)) if b.grad_fn else None
    return to(a, tape.elementwise("grad_input", "mul", g, b)) if a.grad_fn else None, grad_b


def div(tape: Tape, g: Tensor, a: Tensor, b: Tensor) -> Gradients:
    """A quotient: g / b and -g * ((a / b) / b)."""
    grad_b = to(b, _grad_divisor(tape, g, a, b)) if b.grad_fn else None
    return to(a, tape.elementwise("grad_input", "div", g, b)) if a.grad_fn else None, grad_b


def _grad_divisor(tape: Tape, g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    quotient = tape.elementwise("quotient", "div", a, b)
    again = tape.elementwise("quotient_again", "div", quotient, b)
    negative = tape.elementwise("neg", "neg", g)
    grad_b = tape.elementwise("grad_divisor", "mul", negative, again)
    tape.free(quotient, again, negative)
    return grad_b


def square(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """X ** 2: g * (2 * x ** 1)."""
    power = tape.elementwise("power", "mul", x)
    doubled = tape.elementwise("double", "mul", power)
    out = tape.elementwise("grad_input", "mul", g, doubled)
    tape.free(power, doubled)
    return (out,)


def sqrt(tape: Tape, g: Tensor, out: Tensor) -> Gradients:
    """A root: g / (2 * out)."""
    doubled = tape.elementwise("double", "mul", out)
    grad = tape.elementwise("grad_input", "div", g, doubled)
    tape.free(doubled)
    return (grad,)


def rsqrt(tape: Tape, g: Tensor, out: Tensor) -> Gradients:
    """One over a root: -0.5 * g * out ** 3."""
    cubed = tape.elementwise("cube", "cube", out)
    halved = tape.elementwise("halve", "mul", g)
    grad = tape.elementwise("grad_input", "mul", halved, cubed)
    tape.free(cubed, halved)
    return (grad,)


def exp(tape: Tape, g: Tensor, out: Tensor) -> Gradients:
    """An exponential: g * out."""
    return of_one(tape, g, "mul", out)


def of_one(tape: Tape, g: Tensor, kind: str, saved: Tensor) -> Gradients:
    """An operation whose gradient one kernel computes from the output's gradient and a saved tensor."""
    return (tape.elementwise("grad_input", kind, g, saved),)


def copy_slices(tape: Tape, g: Tensor, kind: str, saved: Tensor) -> Gradients:
    """`of_one` for an operation that changed a view in place: copies the whole gradient and replaces a part of it.

    Source: CopySlices::apply in torch/csrc/autograd/functions/tensor.cpp.
    """
    (out,) = tape.make("slices", "copy", (g,), g.shape)
    (part,) = tape.make("slice", "copy", (out,), g.shape)
    grad = tape.elementwise("grad_input", kind, part, saved)
    tape.free(part)
    tape.record("put_slice", "copy", reads=(grad,))
    tape.free(grad)
    return (out,)


def zero_slice(tape: Tape, g: Tensor, part: Shape) -> Gradients:
    """A part that was set to zero in place, through a view: `copy_slices` whose gradient is zeros.

    Source: CopySlices::apply in torch/csrc/autograd/functions/tensor.cpp.
    """
    (out,) = tape.make("slices", "copy", (g,), g.shape)
    (slice_,) = tape.make("slice", "copy", (out,), part)
    zeros = tape.constant("zeros", g, *part)
    tape.free(slice_)
    tape.record("put_slice", "copy", reads=(zeros,))
    tape.free(zeros)
    return (out,)


def clamp(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """A bound: the gradient where the bound was not reached, zero elsewhere."""
    zero = tape.constant("zero", g)
    within = tape.computed("within", *x.shape, item_bytes=BOOL_BYTES, reads=(x,))
    grad = tape.elementwise("grad_input", "select", g, within)
    tape.free(zero, within)
    return (grad,)


def norm(tape: Tape, g: Tensor, x: Tensor, out: Tensor) -> Gradients:
    """A Euclidean norm over the last dimension: g * (x / out), zero where `out` is."""
    unit = tape.elementwise("unit", "div", x, out)
    is_zero = tape.computed("is_zero", *out.shape, item_bytes=BOOL_BYTES, reads=(out,))
    grad = tape.elementwise("grad_input", "mul", unit, g)
    tape.free(unit, is_zero)
    return (to(x, grad),)


def mean(tape: Tape, g: Tensor, x: Tensor, dim: int) -> Gradients:
    """A mean over a dimension, which is kept: g / n, repeated over it."""
    return (tape.elementwise("grad_input", "div", g.expand(dim, x.shape[dim])),)


def mean_of_image(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """A mean over the pixels of each channel: g / n, repeated over them."""
    *_, height, width = x.shape
    return (tape.elementwise("grad_input", "div", g.expand(2, height).expand(3, width)),)


def sum_over(_: Tape, g: Tensor, x: Tensor, dim: int) -> Gradients:
    """A sum over a dimension, which is kept: g, repeated over it without a copy."""
    return (g.expand(dim, x.shape[dim]),)


def max_along(tape: Tape, g: Tensor, x: Tensor, index: Tensor, dim: int) -> Gradients:
    """Maxima over a dimension: the gradient goes to the place of each maximum (value_selecting_reduction_backward)."""
    return tape.make("grad_input", "index", (g.unsqueeze(dim), index.unsqueeze(dim)), x.shape)


def softmax(tape: Tape, g: Tensor, x: Tensor, out: Tensor) -> Gradients:
    """Softmax: (g - sum(g * out)) * out, in the type of x."""
    return tape.make("grad_input", "softmax_backward", (g, out), x.shape, like=x)


def layer_norm(tape: Tape, g: Tensor, stats: tuple[Tensor, ...], x: Tensor, *weights: Tensor) -> Gradients:
    """Layer norm: edges x, weight, bias."""
    return _gradients_of(tape, "layer_norm_backward", (g, x, *stats), (x, *weights))


def batch_norm(
    tape: Tape, g: Tensor, stats: tuple[Tensor, ...], by_cudnn: bool, x: Tensor, *weights: Tensor
) -> Gradients:
    """Batch norm: edges x, weight, bias. Each gradient is of the type of its operand, and that of x lies as x does.

    For cuDNN's backward, that of training mode, the gradient is copied to the memory order of x, and all three gradients are
    computed. In evaluation ATen's own runs, whichever kernel the forward has (derivatives.yaml).
    """
    operands = (x, *weights)
    ordered = _as_image(tape, g, like=x) if by_cudnn else g
    made = tuple(
        tape.new(operand.shape, dense_stride_like(operand), operand.item_bytes)
        if by_cudnn or operand.grad_fn
        else None
        for operand in operands
    )
    tape.record(
        "backward",
        "batch_norm_backward",
        reads=(ordered, x, *weights[:1], *stats),
        writes=tuple(gradient for gradient in made if gradient is not None),
        elementwise_flops=ELEMENTWISE_FLOPS["batch_norm_backward"] * g.elements,
    )
    tape.free(ordered, keep=g)
    return made


def _as_image(tape: Tape, g: Tensor, *, like: Tensor) -> Tensor:
    """``g.contiguous(memory_format)``: (B, C, H, W) in the memory order of an image, which is channels-last or not."""
    if not like.is_channels_last:
        return tape.contiguous("contiguous", g)
    if lies_in_order(g.shape, g.stride, CHANNELS_LAST):
        return g
    (copy,) = tape.make("contiguous", "copy", (g,), g.shape)
    return copy.channels_last()


def pad(tape: Tape, g: Tensor, x: Tensor) -> Gradients:
    """Padding: a copy of the corner of the gradient."""
    return tape.make("grad_input", "copy", (g,), x.shape)


def gather(tape: Tape, g: Tensor, table: Tensor) -> Gradients:
    """Rows of a table: their gradients are added to zeros of its shape."""
    return tape.make("grad_table", "index", (g,), table.shape)


def cat(_: Tape, g: Tensor, parts: Sequence[Tensor], dim: int) -> Gradients:
    """Joining along a dimension: each operand gets its part of the gradient."""
    ends = list(accumulate(part.shape[dim] for part in parts))
    places = list(zip(parts, [0, *ends], ends, strict=False))
    return tuple(to(part, g.slice(dim, start, end)) if part.grad_fn else None for part, start, end in places)


def stack(_: Tape, g: Tensor, tensors: Sequence[Tensor], dim: int) -> Gradients:
    """Stacking along a new dimension: each operand gets its place of the gradient."""
    return tuple(to(tensor, part) for tensor, part in zip(tensors, g.unbind(dim), strict=True))


def roll(tape: Tape, g: Tensor, dims: tuple[int, ...]) -> Gradients:
    """Rolling: the gradient is rolled back, the last dimension first."""
    return (tape.roll("grad_input", g, *reversed(dims)),)


def repeat(tape: Tape, g: Tensor, x: Tensor, times: Sequence[Dim]) -> Gradients:
    """Repeating: the sum over the repeats (repeat_backward); new leading dimensions are summed one by one."""
    leading = len(times) - len(x.shape)
    whole = g
    for _ in range(leading):
        (summed,) = tape.make("sum", "sum", (whole,), whole.shape[1:])
        tape.free(whole, keep=g)
        whole = summed
    pairs = [(often, size) for often, size in zip(times[leading:], x.shape, strict=True)]
    apart = [dim for often, size in pairs for dim in ((often, size) if often != 1 else (size,))]
    if len(apart) == len(pairs):
        return (whole,)
    split = tape.reshape("reshape", whole, *apart)
    tape.free(whole, keep=g if whole is g else split)
    kept = [dim for often, size in pairs for dim in ((1, size) if often != 1 else (size,))]
    out = tape.like(split, *x.shape)
    flops = ELEMENTWISE_FLOPS["sum"] * split.elements
    tape.record("sum", "sum", reads=(split,), writes=(out,), leaving=tuple(kept), elementwise_flops=flops)
    tape.free(split, keep=g)
    return (out,)


def masked_fill(tape: Tape, g: Tensor, mask: Tensor) -> Gradients:
    """Filling with a number: the gradient with zeros at those places."""
    return (tape.masked_fill("grad_input", g, mask),)


def gather_along(tape: Tape, g: Tensor, x: Tensor, index: Tensor) -> Gradients:
    """``torch.gather``: the gradients are added to zeros of the shape of x (gather_backward)."""
    return tape.make("grad_input", "index", (g, index), x.shape)
