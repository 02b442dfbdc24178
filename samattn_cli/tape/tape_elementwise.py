"""Operations of the Tape that compute each number from those at its place in other tensors."""

from __future__ import annotations

from collections.abc import Callable

from . import derivatives
from .derivatives import where_needed
from .graph import Backward
from .ops import ELEMENTWISE_FLOPS, Parameter
from .symbols.formula import greatest
from .tape_casting import Casting
from .tensor import Dim, Shape, Tensor


class Computing(Casting):
    """Elementwise operations."""

    def add(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A sum; either broadcasts to the other."""
        out = self.elementwise(name, "add", *_broadcast(x, other))
        return self.derived(name, out, (x, other), derivatives.passes(x, other))

    def add_number(self, name: str, x: Tensor) -> Tensor:
        """A sum with a number."""
        return self.derived(name, self.elementwise(name, "add", x), (x,), derivatives.passes(x))

    def add_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape | None = None) -> Tensor:
        """A sum with a weight, viewed as `shape` where that is said, which broadcasts to `x`."""
        into = self.weight(weight) if shape is None else self.weight(weight).view(*shape)
        out = self.elementwise(name, "add", x, into, parameters=(weight,))
        return self.derived(name, out, (x, into), derivatives.passes(x, into))

    def add_(self, name: str, x: Tensor, other: Tensor) -> None:
        """A sum in place."""
        self.record(name, "add", reads=(x, other), elementwise_flops=ELEMENTWISE_FLOPS["add"] * x.elements)

    def add_to_channels(self, x: Tensor, *terms: tuple[str, Dim, Tensor]) -> Tensor:
        """``x[..., first : first + C] += term`` for each (name, first, term), in place; what `x` is then.

        Python puts the sum back where it is: a copy onto itself, which autograd does not leave out. For it the whole is
        changed twice, each time by CopySlices, and whoever looks at a part, or at a view of the whole, has it by
        as_strided (variable.cpp and accumulate_grad.h of torch/csrc/autograd).
        """
        whole = x
        for name, first, term in terms:
            part = x.slice(len(x.shape) - 1, first, first + term.shape[-1])
            self.add_(name, part, term)
            added = self.derived(name, whole, (whole, term), derivatives.change_part(whole, part))
            if added.grad_fn is None:
                continue
            seen = self.derived(name, part, (added,), derivatives.as_strided(whole))
            whole = self.derived(name, added, (added, seen), derivatives.change_part(whole, part, copy=True))
        if not x.is_view or whole is x:
            return whole
        return self.derived("view", whole, (whole,), derivatives.as_strided(whole))

    def sub(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A difference; `other` broadcasts to `x`."""
        out = self.elementwise(name, "sub", x, other)
        return self.derived(name, out, (x, other), derivatives.sub(x, other))

    def scale(self, name: str, x: Tensor) -> Tensor:
        """A product with a number."""
        return self.derived(name, self.elementwise(name, "mul", x), (x,), derivatives.scale)

    def mul(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A product; either broadcasts to the other."""
        out = self.elementwise(name, "mul", *_broadcast(x, other))
        saves = (*where_needed(other, x), *where_needed(x, other))
        return self.derived(name, out, (x, other), derivatives.mul(x, other), saves)

    def scale_by_weight(self, name: str, x: Tensor, weight: Parameter, shape: Shape) -> Tensor:
        """A product of a weight, viewed as `shape`, which broadcasts to `x`, and `x`."""
        self.unrecorded.append(weight)
        return self.mul(name, self.weight(weight).view(*shape), x)

    def neg(self, name: str, x: Tensor) -> Tensor:
        """The negative."""
        return self.derived(name, self.elementwise(name, "neg", x), (x,), derivatives.neg)

    def div(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """A quotient; `other` broadcasts to `x`."""
        out = self.elementwise(name, "div", x, other)
        return self.derived(
            name, out, (x, other), derivatives.div(x, other), saves=(*where_needed(other, x), other)
        )

    def square(self, name: str, x: Tensor) -> Tensor:
        """X ** 2."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, "square", wide)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivatives.square(wide), saves=(wide,))

    def sqrt(self, name: str, x: Tensor) -> Tensor:
        """The square root."""
        out = self.elementwise(name, "sqrt", x)
        return self.derived(name, out, (x,), derivatives.sqrt(out), saves=(out,))

    def rsqrt(self, name: str, x: Tensor) -> Tensor:
        """One over the square root."""
        return self._widened(name, "rsqrt", x, derivatives.rsqrt)

    def exp(self, name: str, x: Tensor) -> Tensor:
        """The exponential."""
        return self._widened(name, "exp", x, derivatives.exp)

    def clamp(self, name: str, x: Tensor) -> Tensor:
        """``clamp_min``, or ``clamp`` with one bound."""
        out = self.elementwise(name, "clamp", x)
        return self.derived(name, out, (x,), derivatives.clamp(x), saves=(x,))

    def sigmoid(self, name: str, x: Tensor) -> Tensor:
        """The logistic function."""
        out = self.elementwise(name, "sigmoid", x)
        return self.derived(name, out, (x,), derivatives.of_one("sigmoid_backward", out), saves=(out,))

    def relu(self, name: str, x: Tensor) -> Tensor:
        """ReLU."""
        out = self.elementwise(name, "relu", x)
        return self.derived(name, out, (x,), derivatives.of_one("relu_backward", out), saves=(out,))

    def relu_(self, name: str, x: Tensor) -> Tensor:
        """ReLU in place, of what no operation keeps: of a view, such as a linear layer makes of its rows."""
        flops = ELEMENTWISE_FLOPS["relu"] * x.elements
        self.record(name, "relu", reads=(x,), elementwise_flops=flops)
        changed = self.derived(name, x, (x,), derivatives.copy_slices("relu_backward", x), saves=(x,))
        return self.derived(name, changed, (changed,), derivatives.as_strided(x))

    def silu(self, name: str, x: Tensor) -> Tensor:
        """SiLU: x * sigmoid(x), in one kernel."""
        out = self.elementwise(name, "silu", x)
        return self.derived(name, out, (x,), derivatives.of_one("silu_backward", x), saves=(x,))

    def gelu(self, name: str, x: Tensor, *, tanh: bool = False) -> Tensor:
        """GELU, or its approximation by `tanh`."""
        kind = "gelu_tanh" if tanh else "gelu"
        out = self.elementwise(name, kind, x)
        return self.derived(name, out, (x,), derivatives.of_one(f"{kind}_backward", x), saves=(x,))

    def _widened(self, name: str, kind: str, x: Tensor, derivative: Callable[[Tensor], Backward]) -> Tensor:
        """Of what autocast computes in the wide type, and keeps what comes out."""
        wide = self._for_statistics(name, x)
        out = self.elementwise(name, kind, wide)
        if wide is not x:
            self.free(wide)
        return self.derived(name, out, (wide,), derivative(out), saves=(out,))


def _broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each repeated to the shape that they have together."""
    longest = max(len(x.shape) for x in tensors)
    shapes = [(1,) * (longest - len(x.shape)) + x.shape for x in tensors]
    shape = tuple(map(greatest, zip(*shapes, strict=True)))
    return tuple(x.expanded(shape) for x in tensors)
