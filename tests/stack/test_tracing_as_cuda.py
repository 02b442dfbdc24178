"""What CUDA runs for a call where meta tensors would run something else: in a training step, what is kept, to the byte."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samattn_cli.stack.tracing.run import Inputs, trace
from tests.support.ampere import ON_AMPERE
from tests.support.torch_2_6 import IS_TORCH_2_6

ROWS, WIDTH = 64, 8
FLOAT, BOOL = 4, 1
TENSOR, MASK, FACTORS = ROWS * WIDTH * FLOAT, ROWS * WIDTH * BOOL, ROWS * FLOAT


class Then(nn.Module):
    """A linear layer, and something after it."""

    def __init__(self, then):
        super().__init__()
        self.fc, self.then = nn.Linear(WIDTH, WIDTH), then

    def forward(self, x):
        return self.then(self.fc(x))


class Table(nn.Module):
    """A bias of each head and pair of tokens, taken from a table, as LeViT has it: an index of which a part is None."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, WIDTH))
        self.register_buffer("index", torch.zeros(ROWS, dtype=torch.int64))

    def forward(self, x):
        return self.table[:, self.index] + x.detach()[:, 0]


class Unfused(nn.Module):
    """Attention of five dimensions, which no fused kernel takes, with a bias."""

    def forward(self, x):
        q = x.view(1, 1, 2, ROWS, WIDTH // 2)
        bias = x.new_zeros(2, ROWS, ROWS)
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, bias)


def step(module):
    given = Inputs({"0": ((ROWS, WIDTH), "float32")}, "meta")
    return trace(module.to("meta"), given, "training", [], ON_AMPERE).step


def kept(then):
    """The names of operations that run between the linear layer and its backward, and the bytes that they keep."""
    ops = step(Then(then))
    sizes = {storage.id: storage.nbytes for op in ops for storage in op.allocates}
    own = [op for op in ops if op.module == "then"]
    return [op.name for op in own], sorted(sizes[n] for op in own for n in op.saves if op.phase == "forward")


@pytest.mark.parametrize(
    ("module", "names", "nbytes"),
    [
        (nn.Dropout(0.1), ["native_dropout", "native_dropout_backward"], [MASK]),
        (nn.Dropout(0.0), [], []),
        (nn.Dropout(1.0), ["zeros", "mul", "mul"], [FLOAT]),
    ],
)
def test_dropout(module, names, nbytes):
    found, sizes = kept(module)
    assert found == names
    assert [size for size in sizes if size != TENSOR] == nbytes


@pytest.mark.skipif(
    not hasattr(torch.ops.aten, "_fused_rms_norm_backward"), reason="this torch runs it in steps"
)
def test_rms_norm_keeps_a_factor_of_each_row():
    """And its input, which is noted where that was made."""
    assert kept(nn.RMSNorm(WIDTH)) == (["_fused_rms_norm", "_fused_rms_norm_backward"], [FACTORS])


def test_an_index_with_a_part_that_is_none_trains():
    made = [
        (op.leaving, storage.nbytes)
        for op in step(Table())
        if op.phase == "backward"
        for storage in op.allocates
    ]
    of_the_slice = [((2, WIDTH), 2 * WIDTH * FLOAT)] * IS_TORCH_2_6  # one copy more for the `:`
    assert made == [
        ((2, ROWS), 2 * ROWS * FLOAT),
        ((2, WIDTH), 2 * WIDTH * FLOAT),  # the rows are put into it
        *of_the_slice,
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_unfused_products_take_what_torch_2_6_and_2_14_took_on_the_dry_device(dtype):
    """The matrix of scores, to which the bias is added in place, another for the softmax, and flags of both sizes."""
    given = Inputs({"0": ((ROWS, WIDTH), dtype)}, "meta")
    _bias, *ops = trace(Unfused(), given, "inference", [], ON_AMPERE).forward
    made = [storage.nbytes for op in ops for storage in op.allocates]
    wide, scores = ROWS * WIDTH * FLOAT, 2 * ROWS**2
    casts = [wide] * 3 if dtype == "float16" else []
    softmax = [scores * FLOAT, scores * BOOL, 2 * ROWS * BOOL, FLOAT]
    narrow = [scores * 2, wide, wide // 2] if dtype == "float16" else [wide]
    assert made == [*casts, wide, wide, scores * FLOAT, *softmax, *narrow]


def sizes(name, function, shape):
    """The bytes of the results of an operation of a function's training step."""

    class Of(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return function(x * self.scale)

    ops = trace(Of().to("meta"), Inputs({"0": (shape, "float32")}, "meta"), "training", [], ON_AMPERE).step
    return [[each.nbytes for each in op.allocates] for op in ops if op.name == name]


def test_log_sigmoid_keeps_nothing_but_its_input():
    assert sizes("log_sigmoid_forward", torch.nn.functional.logsigmoid, (4, 8)) == [[4 * 8 * FLOAT, 0]]


def test_results_of_fold_keep_the_memory_of_windows_that_overlap():
    windows = 9 * 3 * 8 * 8 * FLOAT  # 9 pixels at each of 8 x 8 places, of 3 channels
    assert sizes("col2im", lambda x: torch.nn.functional.unfold(x, 3, padding=1), (1, 3, 8, 8)) == [[windows]]


def test_results_of_unfold_keep_the_memory_of_an_image_of_which_they_take_a_part():
    image = 3 * 8 * 8 * FLOAT
    assert sizes("im2col", lambda x: torch.nn.functional.unfold(x, 1, stride=2), (1, 3, 8, 8)) == [[image]]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_with_dropout_memory_efficient_attention_has_its_random_state_on_the_host(rate):
    attention = torch.nn.functional.scaled_dot_product_attention
    (results,) = sizes(
        "_scaled_dot_product_efficient_attention",
        lambda x: attention(x, x, x, dropout_p=rate),
        (1, 2, 32, 8),
    )
    assert results == [2 * 32 * 8 * FLOAT, 2 * 32 * FLOAT, *([] if rate else [8, 8])]


def test_the_gradient_of_chosen_numbers_is_put_into_zeros_in_place():
    zeros = "zeros" if IS_TORCH_2_6 else "new_zeros"
    made = sizes(zeros, lambda x: x.max(1)[0], (4, 8)), sizes("scatter", lambda x: x.max(1)[0], (4, 8))
    assert made == ([[4 * 8 * FLOAT]], [])
