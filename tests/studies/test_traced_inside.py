"""What operators of traced modules take inside on CUDA, in the order in which torch's own CUDA code was seen to take it.

Sizes are worked out from the shapes. On an A100's dry device `python -m tests.public.traced_layers` compares the peaks.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.inside import inside_op
from samattn_cli.studies.traced.ops import storages_of
from samattn_cli.tape.inside import Cuda, steps
from tests.support.ampere import ON_AMPERE

FLOAT = 4


class Of(nn.Module):
    """A function of an input that needs a gradient."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(x * self.scale, *self.parts)


def taken(shape, name, function, *modules, dtype="float32"):
    """The steps of the first operation of a name in a training step."""
    module = Of(function, *modules).to("meta", getattr(torch, dtype))
    ops = trace(module, Inputs({"0": (shape, dtype)}, "meta"), "training", [], ON_AMPERE).step
    op = next(op for op in ops if op.name == name)
    return steps(inside_op(op, storages_of(ops)), Cuda())


@pytest.mark.parametrize("has_weights", [True, False])
def test_a_group_norm_makes_a_scale_and_a_shift_of_each_image_and_channel(has_weights):
    norm = nn.GroupNorm(2, 8, affine=has_weights)
    channels, groups = 3 * 8 * FLOAT, 3 * 2 * FLOAT  # 3 images of 8 channels in 2 groups
    forward = taken((3, 8, 4, 4), "native_group_norm", lambda x, m: m(x), norm)
    backward = taken((3, 8, 4, 4), "native_group_norm_backward", lambda x, m: m(x), norm)
    assert forward == ((None, None, None, channels, channels) if has_weights else ())
    results, scale = ((None,) * 3, (channels,)) if has_weights else ((None,), ())
    assert backward == (*results, channels, channels, groups, groups, *scale)


def test_a_dropout_makes_its_mask_first():
    first, *others = taken((16, 8), "native_dropout", lambda x: nn.functional.dropout(x, 0.5))
    assert (first.nbytes, others) == (16 * 8, [])  # booleans


@pytest.mark.parametrize(
    ("name", "function", "results", "width"),
    [
        ("max", lambda x: x.max(1)[0], 2, 16),  # a value and its index
        ("var", lambda x: x.var(1), 1, 16),  # the mean, the squares and two counts
        ("amax", lambda x: x.amax(1), 1, 4),
        ("linalg_vector_norm", lambda x: x.norm(dim=1), 1, 4),
    ],
)
def test_a_reduction_keeps_partial_results(name, function, results, width):
    # 4 x 256 outputs of 1024 values: 4 at once by a thread, 32 threads wide and 4 high, so 8 blocks; a thread has 256 values,
    # which 16 blocks share
    partial = width * 4 * 256 * 16 * 32 * 4
    assert taken((4, 1024, 256), name, function) == (*[None] * results, partial, 4 * 8)


def test_booleans_are_summed_as_int64():
    # the gradient of a maximum counts the numbers that equal it
    widened, partial = 8 * 4 * 1024 * 256, 8 * 4 * 256 * 16 * 32 * 4
    assert taken((4, 1024, 256), "sum", lambda x: x.amax(1)) == (None, widened, partial, 4 * 8)


def test_unfold_begins_with_a_tensor_like_its_input():
    size = 2 * 3 * 8 * 8 * FLOAT
    assert taken((2, 3, 8, 8), "im2col", lambda x: nn.functional.unfold(x, 3, padding=1)) == (size, None, -1)


def test_unfold_copies_an_input_that_is_not_contiguous():
    size = 2 * 3 * 8 * 8 * FLOAT
    given = taken((2, 3, 8, 8), "im2col", lambda x: nn.functional.unfold(x.transpose(2, 3), 3, padding=1))
    assert given == (size, size, None, -1)


B, N, WIDTH = 2, 16, 8


def attention(dtype, name):
    """Attention of tokens (N, B, width), as nn.MultiheadAttention runs it: its gradient lies by token and then by image."""
    module = nn.MultiheadAttention(WIDTH, 1)
    return taken((N, B, WIDTH), name, lambda x, m: m(x, x, x, need_weights=False)[0], module, dtype=dtype)


def test_memory_efficient_attention_copies_a_gradient_that_lies_by_token():
    steps_of_it = attention("float32", "_scaled_dot_product_efficient_attention_backward")
    assert steps_of_it[:4] == (B * N * WIDTH * FLOAT, None, None, None)


def test_flash_attention_copies_a_gradient_and_an_output_that_lie_by_token():
    steps_of_it = attention("float16", "_scaled_dot_product_flash_attention_backward")
    assert steps_of_it[:5] == (B * N * WIDTH * 2, B * N * WIDTH * 2, None, None, None)
