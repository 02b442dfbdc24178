"""Weights that other tensors hold, as quantized ones do: their memory is that of what holds them, and their operations are seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samattn_cli.stack.tracing.load import on_device
from samattn_cli.stack.tracing.run import Inputs, trace
from tests.support.ampere import ON_AMPERE

FLOAT = 4


class Scaled(torch.Tensor):
    """A matrix (out, in) of int8 with a scale for each row; a product makes the whole matrix first."""

    @staticmethod
    def __new__(cls, numbers, scale):
        kept = {"dtype": scale.dtype, "device": numbers.device, "requires_grad": False}
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, **kept)

    def __init__(self, numbers, scale):
        self.numbers, self.scale = numbers, scale

    def __tensor_flatten__(self):
        return ["numbers", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner, _meta, _size, _stride):
        return cls(inner["numbers"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].numbers, args[0].scale)
        whole = [x.numbers * x.scale if isinstance(x, cls) else x for x in args]
        return func(*whole, **(kwargs or {}))


def linear(width, out, device="meta"):
    module = nn.Linear(width, out, device=device, bias=False)
    numbers = torch.zeros(out, width, dtype=torch.int8, device=device)
    module.weight = nn.Parameter(Scaled(numbers, torch.zeros(out, 1, device=device)), requires_grad=False)
    return module


def traced(module, shape, dtype="float32", notes=None):
    return trace(
        module, Inputs({"0": (shape, dtype)}, "meta"), "inference", [] if notes is None else notes, ON_AMPERE
    )


def test_a_quantized_weight_takes_its_numbers_and_its_scales():
    notes = []
    run = traced(
        nn.Sequential(linear(8, 16), nn.Linear(16, 4, bias=False, device="meta")), (3, 8), notes=notes
    )
    assert [weight.sizes for weight in run.weights] == [(16 * 8, 16 * FLOAT), (4 * 16 * FLOAT,)]
    assert [weight.shape for weight in run.weights] == [(16, 8), (4, 16)]
    whole, *_ = run.forward
    assert (whole.name, whole.weights) == ("mul", (0,))  # the first use of the weight makes it whole
    assert [storage.nbytes for storage in whole.allocates] == [16 * 8 * FLOAT]
    assert [op.flops for op in run.forward if op.flops] == [2 * 3 * 8 * 16, 2 * 3 * 16 * 4]
    assert [
        "0.weight of type Scaled keeps numbers in int8 16x8 and float32 16x1" in note for note in notes
    ] == [True]


@pytest.mark.parametrize("made_on", ["meta", "cpu"])
def test_a_quantized_weight_in_another_type_keeps_its_numbers(made_on):
    """Its int8 numbers stay; its scales and the other weights get the type."""
    module = nn.Sequential(linear(8, 16, made_on), nn.Linear(16, 4, bias=False, device=made_on))
    moved = on_device(module, "meta", torch.bfloat16)
    weight = moved[0].weight
    assert type(weight.data) is Scaled
    assert [(each.dtype, each.device.type) for each in (weight.numbers, weight.scale)] == [
        (torch.int8, "meta"),
        (torch.bfloat16, "meta"),
    ]
    run = traced(moved, (3, 8), "bfloat16")
    assert [weight.sizes for weight in run.weights] == [(16 * 8, 16 * 2), (4 * 16 * 2,)]


def test_a_quantized_buffer_can_leave_the_meta_device():
    table = nn.Module()
    table.register_buffer("table", linear(8, 16).weight.data)
    moved = on_device(table, "cpu", None).table
    assert (type(moved), moved.numbers.device.type, int(moved.numbers.sum())) == (Scaled, "cpu", 0)


def test_a_buffer_that_others_hold_takes_their_bytes():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", linear(8, 16).weight.data)

        def forward(self, x):
            return x @ self.table.t()

    assert traced(Table(), (3, 8)).buffer_bytes == (16 * 8, 16 * FLOAT)


def test_a_product_of_integers_counts():
    class Product(nn.Module):
        def forward(self, x):
            return torch._int_mm(x, torch.empty(32, 8, dtype=torch.int8, device=x.device))

    run = traced(Product(), (24, 32), "int8")
    assert sum(op.flops for op in run.forward) == 2 * 24 * 32 * 8
