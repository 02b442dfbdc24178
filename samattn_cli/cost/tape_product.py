"""Operations of the Tape that are matrix products: linear layers and products of two tensors."""

from __future__ import annotations

import math
from dataclasses import replace

from . import derivatives
from .derivatives import where_needed
from .tape_moving import Moving
from .tensor import Dim, Tensor, decide


def _folds(x: Tensor, weight: Tensor) -> bool:
    """Whether a product (..., in) with a weight is one of rows, not a batched one (should_fold of LinearAlgebra.cpp).

    It is batched only with a weight that needs no gradient, where rows would have to be copied.
    """
    if weight.grad_fn or x.is_contiguous:
        return True
    return all(decide(x.stride[i] == x.stride[i + 1] * x.shape[i + 1]) for i in range(len(x.shape) - 2))


def _but_for(made: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What was made, without that which has the memory of what was given."""
    return tuple(x for x in made if all(x.storage is not other.storage for other in given))


class Multiplying(Moving):
    """Matrix products."""

    def linear(self, name: str, x: Tensor, out_features: Dim, *, bias: bool = True) -> Tensor:
        """``nn.Linear``, as the submodule `name`: (..., in) -> (..., out)."""
        with self.module(name):
            in_features = x.shape[-1]
            weights = [self.parameter("weight", out_features, in_features)]
            weights += [self.parameter("bias", out_features)] if bias else []
            low, *used = self._for_product(x, *weights)
            folds = _folds(low, used[0])
            batch = (math.prod(x.shape[:-1]),) if folds else (math.prod(x.shape[:-2]), x.shape[-2])
            rows = self.reshape("flatten", low, *batch, in_features)
            out = self.like(rows, *batch, out_features)
            self._product("linear", rows, out, used, weights, macs=out.elements * in_features)
            self.free(rows, low, *self._frozen_copies(used), keep=x)
            saves = (*where_needed(used[0], rows), *where_needed(rows, used[0]))
            added = bias and not low.is_contiguous  # a bias that ATen adds in place afterwards
            if not folds:
                out = self.derived("", out, (rows,), derivatives.batched_mm(rows, used[0]), saves)
            elif bias and not added:
                out = self.derived("", out, (rows, *used), derivatives.addmm(rows, *used), saves)
            else:
                out = self.derived("", out, (rows, used[0]), derivatives.mm(rows, used[0]), saves)
            out = out.view(*x.shape[:-1], out_features)
            return self.derived("", out, (out, used[1]), derivatives.passes(out, used[1])) if added else out

    def matmul(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """``a @ b``: (..., m, k) @ (..., k, n) -> (..., m, n), of three dimensions or more.

        ATen folds what is before the last two dimensions into one, by a copy where strides do not allow a view
        (LinearAlgebra.cpp, _matmul_impl).
        """
        low_a, low_b = self._for_product(a, b, name=name)
        *batch, m, k = a.shape
        n = b.shape[-1]
        rows = self.reshape(f"{name}.a", low_a.expand_to(*batch, m, k), math.prod(batch), m, k)
        columns = self.reshape(f"{name}.b", low_b.expand_to(*batch, k, n), math.prod(batch), k, n)
        out = self._bmm(name, rows, columns)
        self.free(*_but_for((rows, columns, low_a, low_b), (a, b)))
        return replace(out.view(*batch, m, n), is_view=False)  # _unsafe_view

    def bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """``torch.bmm``: (N, m, k) @ (N, k, n) -> (N, m, n)."""
        low_a, low_b = self._for_product(a, b, name=name)
        out = self._bmm(name, low_a, low_b)
        self.free(*_but_for((low_a, low_b), (a, b)))
        return out

    def _bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        out = self.product(name, "matmul", a, b)
        saves = (*where_needed(b, a), *where_needed(a, b))
        return self.derived(name, out, (a, b), derivatives.bmm(a, b), saves)
