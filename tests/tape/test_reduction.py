"""Partial sums of reductions: bytes that torch 2.14.1 took inside `sum` over the dry device (A100: 108 SMs of 2048 threads)."""

from __future__ import annotations

from math import prod

import pytest

from samattn_cli.tape.reduction import partial_sums

A100 = 108, 2048

ROWS = [  # rows, columns, bytes with the semaphores
    (4096, 3072, 100_663_392),
    (4096, 2304, 75_497_544),
    (4900, 768, 30_277_656),
    (4900, 2304, 90_832_968),
    (3136, 96, 614_408),
    (3136, 384, 9_633_804),
    (3136, 288, 7_225_356),
    (1024, 192, 1_572_872),
    (65_536, 576, 102_039_572),
    (65_536, 96, 12_582_920),
    (5184, 3420, 112_066_668),
    (1296, 4736, 50_921_620),
]


@pytest.mark.parametrize(("rows", "columns", "nbytes"), ROWS)
def test_sums_over_rows(rows: int, columns: int, nbytes: int) -> None:
    taken = partial_sums((rows, columns), (columns, 1), (1, columns), *A100)
    assert sum(taken) == nbytes


def test_a_bias_of_a_convolution_and_a_logit_scale() -> None:
    """(1, 256, 144, 144) in channels-last order over all but channels; (64, 3, 64, 64) over all but heads."""
    neck = (1, 256, 144, 144), (5_308_416, 1, 36_864, 256), (1, 256, 1, 1)
    assert sum(partial_sums(*neck, *A100)) == 42_467_336
    scale = (64, 3, 64, 64), (12_288, 4096, 64, 1), (1, 3, 1, 1)
    assert sum(partial_sums(*scale, *A100)) == 396


def test_windows_that_are_repeated() -> None:
    """SAM 2's windowed positions: (1, 96, 32, 8, 32, 8) over the two dimensions of windows."""
    strides = (6_291_456, 65_536, 2048, 256, 8, 1)
    assert sum(partial_sums((1, 96, 32, 8, 32, 8), strides, (1, 96, 1, 8, 1, 8), *A100)) == 50_331_840


@pytest.mark.parametrize(
    ("shape", "strides", "kept", "nbytes"),
    [
        # the same windows of channels-last images: the result lies in row-major order all the same
        ((1, 96, 32, 8, 32, 8), (6_291_456, 1, 196_608, 24_576, 768, 96), (1, 96, 1, 8, 1, 8), 0),
        ((100, 49, 2, 32, 12), (37_632, 768, 384, 12, 1), (1, 49, 1, 1, 12), 30_105_620),
        ((12, 96, 1, 8, 64), (768, 1, 96, 96, 9216), (1, 96, 1, 1, 1), 1_179_656),
        ((32, 100, 7, 8, 64), (358_400, 448, 1, 44_800, 7), (32, 1, 1, 1, 1), 1_920),
        (
            (7, 197, 96, 3, 12, 3),
            (7092, 1, 148_932, 49_644, 591, 197),
            (1, 1, 96, 1, 1, 1),
            2_304,
        ),
    ],
)
def test_sums_in_other_orders_of_memory(shape, strides, kept, nbytes) -> None:
    """As torch 2.14.1 asked on the dry device; 2,022 random sums in all took what is derived."""
    assert sum(partial_sums(shape, strides, kept, *A100)) == nbytes


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((197, 768), (1, 768)), ((4, 12, 64, 64), (1, 12, 64, 64)), ((0, 8), (1, 8)), ((), ())],
)
def test_sums_whose_blocks_share_no_output_take_nothing(shape, kept) -> None:
    stride = tuple(prod(shape[at + 1 :]) for at in range(len(shape)))
    assert partial_sums(shape, stride, kept, *A100) == ()


def test_more_multiprocessors_take_more() -> None:
    rows = (4096, 3072), (3072, 1), (1, 3072)
    assert sum(partial_sums(*rows, 132, 2048)) >= sum(partial_sums(*rows, 40, 1024))
