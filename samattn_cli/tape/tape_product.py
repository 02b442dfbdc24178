"""Operations of the Tape that are matrix products: linear layers and products of two tensors."""

from __future__ import annotations

import math

from . import derivatives
from .derivatives import where_needed
from .ops import BATCHED_LINEAR, OPERATOR, SCORES, Parameter
from .tape_moving import Moving
from .tensor import Dim, Tensor

MATRIX_DIMS = 2


def _but_for(made: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What was made, without that which has the memory of what was given."""
    return tuple(x for x in made if all(x.storage is not other.storage for other in given))


class Multiplying(Moving):
    """Matrix products."""

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            weight = self.parameter("weight", out_features, x.shape[-1])
            return self._linear("", x, weight, self.parameter("bias", out_features) if bias else None)

    def linear_with(self, name: str, x: Tensor, weight: Parameter, bias: Tensor | None) -> Tensor:
        """``F.linear`` with a weight of the current module and a bias that was computed: (..., in) -> (..., out)."""
        return self._linear(name, x, weight, bias)

    def _linear(self, name: str, x: Tensor, weight: Parameter, bias: Parameter | Tensor | None) -> Tensor:
        *leading, in_features = x.shape
        out_features = weight.shape[0]
        weights = [weight] if bias is None else [weight, bias]
        low, *used = self._for_product(x, *weights, name=name)
        folds = self._folds(low, used[0])
        batch = (math.prod(leading),) if folds else (math.prod(leading[:-1]), leading[-1])
        is_matrix = len(x.shape) == MATRIX_DIMS  # taken as it is, not viewed
        rows = low if is_matrix else self.reshape(f"{name}.flatten".strip("."), low, *batch, in_features)
        out = self.like(rows, *batch, out_features)
        parameters = [weight for weight in weights if isinstance(weight, Parameter)]
        kind = "linear" if folds else BATCHED_LINEAR
        shapes = {"entering": x.shape, "leaving": (*leading, out_features)}
        self._product(name, kind, rows, out, used, parameters, macs=out.elements * in_features, **shapes)
        computed = used[1:] if isinstance(bias, Tensor) else []
        self.free(rows, low, *self._frozen_copies(used[: len(used) - len(computed)]), keep=x)
        self.free(*computed, keep=bias if isinstance(bias, Tensor) else None)
        saves = (*where_needed(used[0], rows), *where_needed(rows, used[0]))
        added = bias is not None and not low.is_contiguous  # a bias that ATen adds in place afterwards
        if not folds:
            out = self.derived(name, out, (rows,), derivatives.batched_mm(rows, used[0]), saves)
        elif bias is not None and not added:
            weight_used, with_bias = used
            edges = (with_bias, rows, weight_used)
            out = self.derived(name, out, edges, derivatives.addmm(rows, weight_used, with_bias), saves)
        else:
            out = self.derived(name, out, (rows, used[0]), derivatives.mm(rows, used[0]), saves)
        if not is_matrix:
            out = out.view(*leading, out_features).seen(is_view=bias is not None)
        return self.derived(name, out, (out, used[1]), derivatives.passes(out, used[1])) if added else out

    def _folds(self, x: Tensor, weight: Tensor) -> bool:
        """Whether a product (..., in) with a weight is one of rows, not a batched one (should_fold of LinearAlgebra.cpp).

        It is batched only with a weight that needs no gradient, as autocast's copy of one does in inference, where rows
        would have to be copied.
        """
        needs_gradient = weight.grad_fn and (self.training or self.autocast_bytes is None)
        if needs_gradient or x.is_contiguous:
            return True
        return all(x.stride[i] == x.stride[i + 1] * x.shape[i + 1] for i in range(len(x.shape) - 2))

    def scores(self, q: Tensor, k: Tensor, *, call: str = OPERATOR) -> Tensor:
        """The score matrix, queries by keys: (..., N, d), (..., M, d) -> (..., N, M)."""
        return self.matmul(SCORES, q, k.transpose(-2, -1), call=call, scores=True)

    def matmul(
        self, name: str, a: Tensor, b: Tensor, *, call: str = OPERATOR, scores: bool = False
    ) -> Tensor:
        """``a @ b``, or a `call`: (..., m, k) @ (..., k, n) -> (..., m, n), of three dimensions or more.

        ATen folds what is before the last two dimensions into one, by a copy where strides do not allow a view
        (LinearAlgebra.cpp, _matmul_impl).
        """
        low_a, low_b = self._for_product(a, b, name=name)
        *batch, m, k = a.shape
        n = b.shape[-1]
        rows = self.reshape(f"{name}.a", low_a.expand_to(*batch, m, k), math.prod(batch), m, k)
        columns = self.reshape(f"{name}.b", low_b.expand_to(*batch, k, n), math.prod(batch), k, n)
        out = self._bmm(name, rows, columns, call, scores=scores)
        self.free(*_but_for((rows, columns, low_a, low_b), (a, b)))
        return out.view(*batch, m, n).seen(is_view=False)

    def bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """``torch.bmm``: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        low_a, low_b = self._for_product(a, b, name=name)
        out = self._bmm(name, low_a, low_b, "torch.bmm")
        self.free(*_but_for((low_a, low_b), (a, b)))
        return out

    def _bmm(self, name: str, a: Tensor, b: Tensor, call: str, *, scores: bool = False) -> Tensor:
        out = self.product(name, "matmul", a, b, call, scores=scores)
        saves = (*where_needed(b, a), *where_needed(a, b))
        return self.derived(name, out, (a, b), derivatives.bmm(a, b), saves)
