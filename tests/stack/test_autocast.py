"""Autocast as the real stack has it on meta, against torch's own."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from samattn_cli.stack.autocast import AutocastOnCuda, as_product
from tests.support.autocast_types import other_operations, that_choose_kernels, types_by_torch, types_by_us
from tests.support.fake_cuda import ASKS_THE_DRIVER

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


@HALVES
def test_each_operation_of_the_encoders_has_the_type_that_torch_gives_it_on_cuda(dtype):
    runs = other_operations(dtype)
    theirs, low = types_by_torch(dtype, runs), str(dtype)
    assert types_by_us(dtype, runs) == theirs
    assert set(theirs.values()) == {low, "torch.float32"}  # all of them could be run
    assert theirs["linear of full"] == low
    for operation in ("layer_norm", "softmax", "pow"):
        assert theirs[f"{operation} of low"] == "torch.float32"


@HALVES
@pytest.mark.skipif(
    ASKS_THE_DRIVER, reason="a CUDA build of torch 2.6.0 asks the driver which kernel takes a fake tensor"
)
def test_convolutions_and_attention_have_the_type_that_torch_gives_them_on_cuda(dtype):
    runs = that_choose_kernels(dtype)
    theirs = types_by_torch(dtype, runs)
    assert types_by_us(dtype, runs) == theirs
    assert len(theirs) == 8
    assert set(theirs.values()) == {str(dtype)}


class Casts(TorchDispatchMode):
    """Counts the casts, by the shape of what is cast."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.counts[tuple(args[0].shape)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("gradients", [True, False])
def test_a_weight_is_cast_once_in_a_pass_and_an_activation_whenever_it_is_used(gradients):
    weight, bias = torch.nn.Parameter(torch.ones(5, 4)), torch.nn.Parameter(torch.ones(5))
    frozen, x = torch.ones(6, 4), torch.ones(3, 4)
    counts = []
    for autocast in (
        lambda: torch.autocast("cpu", torch.bfloat16),  # its cache is that of every device
        lambda: AutocastOnCuda(torch.bfloat16),
    ):
        casts = Casts()
        for _ in range(2):
            with torch.set_grad_enabled(gradients), casts, autocast():
                F.linear(x, weight, bias)
                F.linear(x, weight, bias)
                F.linear(x, frozen)
                F.linear(x * 1, weight)
        counts.append(casts.counts)
    theirs, ours = counts
    assert ours == theirs
    # in each of two passes; a weight that needs no gradient is cast as an activation is
    assert ours == {(5, 4): 2, (5,): 2, (6, 4): 2, (3, 4): 2 * 4}


def test_copies_of_weights_go_when_the_pass_is_over():
    weight = torch.nn.Parameter(torch.ones(5, 4))
    with AutocastOnCuda(torch.bfloat16) as mode:
        F.linear(torch.ones(3, 4), weight)
        assert [copy.dtype for copy in mode.copies.values()] == [torch.bfloat16]
    assert not mode.copies


@pytest.mark.parametrize("equation", ["bhwc,hkc->bhwk", "bhwc,wkc->bhwk"])
def test_einsum_is_the_product_that_torch_makes_of_it(equation):
    a, b = torch.randn(2, 3, 3, 4), torch.randn(3, 5, 4)
    rows, columns, restore = as_product(equation, a, b)
    out, theirs = restore(torch.bmm(rows, columns)), torch.einsum(equation, a, b)
    assert torch.equal(out, theirs)
    assert out.stride() == theirs.stride()
