"""A traced module on a CUDA device: which weights get a gradient, and what the torch that traced it takes besides tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from samattn_cli import load_device
from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.in_memory import in_memory
from samattn_cli.studies.traced.passes import TracedPasses
from samattn_cli.studies.traced.report import report_of
from tests.support.ampere import ON_AMPERE

ROWS, DIM = 4, 8
KIB, MIB = 2**10, 2**20


class Partly(nn.Module):
    """Of its weights, some are frozen, some do not get to an output, and one gets there as a view alone."""

    def __init__(self):
        super().__init__()
        self.first, self.frozen, self.norm = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM), nn.LayerNorm(DIM)
        self.frozen.requires_grad_(requires_grad=False)
        self.mask_token, self.position = nn.Parameter(torch.zeros(DIM)), nn.Parameter(torch.zeros(2, DIM))

    def forward(self, x):
        x = self.frozen(self.first(x))
        self.norm(x)
        return x, self.position[None]


class Attends(nn.Module):
    """Attention alone: no matrix product runs in cuBLAS."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        x = (x * self.scale)[:, None]
        return scaled_dot_product_attention(x, x, x)


def passes_of(module, mode, shape=(ROWS, DIM)):
    module = module.to("meta")
    return TracedPasses(trace(module, Inputs({"0": (shape, "float32")}, "meta"), mode, [], ON_AMPERE))


def allocated(passes, version):
    given = TracedPasses(replace(passes.trace, torch=version))
    return in_memory(given, load_device("h100")).allocated


def test_a_weight_that_gets_no_gradient_has_no_state_and_is_named():
    """A backward on the CPU leaves a gradient on the same weights. Optimizers of torch step over a weight without one."""
    module = Partly()
    x, position = module(torch.zeros(ROWS, DIM))
    (x.sum() + position.sum()).backward()
    has_gradient = [weight.nbytes for weight in module.parameters() if weight.grad is not None]
    passes = passes_of(Partly(), "training")
    assert sorted(passes.trained_sizes) == sorted(has_gradient)
    assert sum(has_gradient) == 4 * (DIM * DIM + DIM + 2 * DIM)
    assert passes.optimizer_bytes == 2 * 3 * 512
    report = report_of(passes, "partly", "training", "adamw")
    assert report.training.trained_params == DIM * DIM + DIM + 2 * DIM
    (note,) = report.notes
    assert note.startswith(
        "3 weights get no gradient from the outputs: mask_token, norm.weight and norm.bias."
    )
    assert passes_of(Partly(), "inference").without_gradient == ()


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_linear_layer_takes_the_workspace_that_cublaslt_has_in_the_torch_that_traced(mode):
    """From torch 2.9 to 2.11 it is kept; before, it is taken while the layer runs, when no gradient is live yet."""
    passes = passes_of(nn.Linear(DIM, DIM), mode)
    newest = allocated(passes, "2.14.1+cu130")
    assert [allocated(passes, f"2.{minor}.0+cu130") - newest for minor in (12, 11, 9)] == [0, MIB, MIB]
    workspaces = (1 if mode == "inference" else 2) * 32 * MIB
    assert newest - passes.weights_bytes - passes.inputs_bytes > workspaces
    assert allocated(passes, "2.8.0") - newest > MIB - 8 * KIB


@pytest.mark.parametrize("layer", [nn.Linear(DIM, 1), nn.Linear(DIM, DIM, bias=False)])
def test_cublaslt_does_not_run_a_layer_of_one_output_or_without_a_bias(layer):
    passes = passes_of(layer, "inference")
    assert allocated(passes, "2.11.0") == allocated(passes, "2.14.1")


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_before_torch_2_14_seed_and_offset_of_attention_are_on_the_host(mode):
    passes = passes_of(Attends(), mode, (2, 64, 64))
    assert allocated(passes, "2.14.1") - allocated(passes, "2.13.0+cpu") == 2 * 512
