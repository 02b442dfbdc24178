"""Attention of a traced module: the kernel is that of the device, chosen from the real operands."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from samattn_cli.stack.tracing.as_cuda import AttentionCall
from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced import child
from samattn_cli.studies.traced.kernels import kernel_of
from samattn_cli.tape.sdpa_call import Target


class Attends(nn.Module):
    """Queries, keys and values (B, h, N, d) of a head size, in training or not, with a mask of a layout or without."""

    def __init__(self, d, mask=""):
        super().__init__()
        self.scale, self.mask = nn.Parameter(torch.ones(d, device="meta", dtype=torch.float16)), mask

    def forward(self, x):
        x = x * self.scale
        mask = torch.zeros(16, 16, device=x.device, dtype=x.dtype) if self.mask else None
        return scaled_dot_product_attention(x, x, x, mask.t() if self.mask == "transposed" else mask)


def kernels(module, capability, mode="inference", dtype="float16", d=64, has_cudnn=True):
    shape = {"0": ((2, 3, 16, d), dtype)}
    target = Target(capability, has_cudnn=has_cudnn)
    traced = trace(module, Inputs(shape, "meta"), mode, [], kernel_of(target))
    ops = traced.step or traced.forward
    return [
        op.name.removeprefix("_scaled_dot_product_").removesuffix("_attention") for op in ops if op.attention
    ]


@pytest.mark.parametrize(
    ("capability", "kernel"),
    [((7, 5), "efficient"), ((8, 0), "flash"), ((8, 9), "flash"), ((9, 0), "cudnn"), ((12, 0), "flash")],
)
def test_of_a_compute_capability(capability, kernel):
    assert kernels(Attends(64), capability) == [kernel]


def test_without_cudnn():
    assert kernels(Attends(64), (9, 0), has_cudnn=False) == ["flash"]


@pytest.mark.parametrize(("capability", "kernel"), [((8, 0), "flash"), ((8, 9), "efficient")])
def test_flash_trains_wide_heads_on_an_a100_alone(capability, kernel):
    """Between 192 and 224 wide; above, and without a gradient, all of these devices run it."""
    assert kernels(Attends(200), capability, "training", d=200) == [kernel]
    assert kernels(Attends(200), capability, d=200) == ["flash"]


def test_with_a_mask():
    assert kernels(Attends(64, "rows"), (8, 0)) == ["efficient"]
    assert kernels(Attends(64, "rows"), (9, 0)) == ["cudnn"]


def test_a_mask_whose_rows_are_not_dense_is_taken_by_no_fused_kernel():
    assert kernels(Attends(64, "transposed"), (8, 0)) == []


@pytest.mark.parametrize(("installed", "kernel"), [("2.10.0+cu128", "flash"), ("2.11.0+cu130", "cudnn")])
def test_the_installed_torch_chooses(monkeypatch, installed, kernel):
    monkeypatch.setattr(child, "installed", lambda: installed)
    of_an_h100 = child._kernels({"capability": (9, 0), "has_cudnn": True})
    x = torch.empty(2, 3, 16, 64, dtype=torch.float16, device="meta")
    assert of_an_h100(AttentionCall(x, x, x, None, 0.0, False, False, False, False)) == kernel


@pytest.mark.parametrize(("mode", "sums"), [("inference", []), ("training", [2 * 3 * 16 * 4])])
def test_cudnn_keeps_sums_for_a_backward_alone(mode, sums):
    """As an H200 allocated: output, log-sum-exp (B, h, N, 1) in float32 if there is a backward, seed and offset."""
    kernel = kernel_of(Target((9, 0)))
    traced = trace(Attends(64), Inputs({"0": ((2, 3, 16, 64), "float16")}, "meta"), mode, [], kernel)
    (op,) = (op for op in traced.step or traced.forward if op.attention)
    assert [each.nbytes for each in op.allocates if each.nbytes] == [2 * 3 * 16 * 64 * 2, *sums, 8, 8]
