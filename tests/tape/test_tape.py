from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, chain

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.encoder.placement import Placement
from samattn_cli.encoder.plan import LayerConfig
from samattn_cli.families.vit import tape as vit
from samattn_cli.tape.memory import live_over, saved_bytes
from samattn_cli.tape.ops import Op, Recording
from samattn_cli.tape.storage import Storage
from samattn_cli.tape.symbols.space import MixedPointsError, Space
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.tensor import Tensor, copied_stride, dense_stride_like, view_stride
from tests.support.sampling import examples

PROPERTY = settings(max_examples=examples(200), deadline=None, derandomize=True)

SIZES = st.sampled_from([2, 3, 4, 1, 6])


@st.composite
def strided_pairs(draw) -> tuple[Tensor, torch.Tensor]:
    """The same strided view on the Tape and in torch: permuted, narrowed and permuted again."""
    shape = draw(st.lists(SIZES, min_size=1, max_size=5))
    ours, theirs = Tape(4).tensor(*shape), torch.empty(shape, device="meta")
    for _ in range(draw(st.sampled_from([1, 2, 0]))):
        order = draw(st.permutations(range(len(shape))))
        ours, theirs = ours.permute(*order), theirs.permute(order)
        if draw(st.integers(0, 2)) == 2:
            corner = tuple(draw(st.integers(1, size)) for size in theirs.shape)
            ours, theirs = ours.narrow(corner), theirs[tuple(map(slice, corner))]
    assert (ours.shape, ours.stride) == (tuple(theirs.shape), theirs.stride())
    return ours, theirs


@st.composite
def shapes_to_view(draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of as many elements: dimensions split into their primes, and these joined again, with ones between."""
    factors = [list(sympy.factorint(size, multiple=True)) for size in shape]
    ends = list(accumulate(map(len, factors)))
    primes = list(chain.from_iterable(factors))
    if draw(st.integers(0, 2)) == 2:
        primes = draw(st.permutations(primes))
    keeping = [end for end in ends if draw(st.integers(0, 3))]
    cuts = sorted([*keeping, *draw(st.lists(st.integers(0, len(primes)), max_size=2))])
    groups = [primes[a:b] for a, b in zip([0, *cuts], [*cuts, len(primes)], strict=True)]
    return tuple(math.prod(group) for group in groups)


@PROPERTY
@given(data=st.data())
def test_a_view_is_possible_where_torch_says_so_and_with_its_strides(data):
    ours, theirs = data.draw(strided_pairs())
    shape = data.draw(shapes_to_view(ours.shape))
    try:
        expected = theirs.view(shape).stride()
    except RuntimeError:
        expected = None
    assert view_stride(ours, shape) == expected
    if expected is None:
        with pytest.raises(ValueError, match="no view"):
            ours.view(*shape)
    else:
        viewed = ours.view(*shape)
        assert (viewed.shape, viewed.stride, viewed.storage) == (shape, expected, ours.storage)


@PROPERTY
@given(pair=strided_pairs())
def test_a_tensor_is_contiguous_where_torch_says_so(pair):
    ours, theirs = pair
    assert ours.is_contiguous == theirs.is_contiguous()


ELEMENTWISE = {
    "unary": torch.neg,
    "with a number": lambda x: x * 0.5,
    "with a 0-d tensor": lambda x: x + torch.empty((), device="meta"),
    "with a tensor like it": lambda x: x + torch.empty_like(x),
    "with a contiguous tensor": lambda x: x + torch.empty(x.shape, device="meta"),
}


@PROPERTY
@given(pair=strided_pairs())
def test_an_elementwise_result_has_the_strides_that_torch_gives_it(pair):
    ours, theirs = pair
    strides = where_they_matter(ours.shape, dense_stride_like(ours))
    given = {name: operation(theirs).stride() for name, operation in ELEMENTWISE.items()}
    assert {name: where_they_matter(ours.shape, stride) for name, stride in given.items()} == dict.fromkeys(
        ELEMENTWISE, strides
    )


@pytest.mark.parametrize("copied", [torch.Tensor.bfloat16, torch.clone, torch.empty_like])
def test_a_copy_has_the_strides_of_what_has_no_gaps_also_along_sides_of_1(copied):
    """A bias of one head, (1, 1, 8, 8): the memory-efficient kernel pads a mask by any of its strides that is not a multiple of 8."""
    for strides in ((1, 1, 8, 1), (1, 1, 16, 2)):
        ours = Tensor((1, 1, 8, 8), strides, Storage(512), 4)
        theirs = torch.empty_strided((1, 1, 8, 8), strides, device="meta")
        assert copied_stride(ours) == copied(theirs).stride() == (1, 1, 8, 1)


@pytest.mark.parametrize(
    "strides",
    [((8, 1, 24, 8), (72, 1, 24, 8)), ((72, 1, 24, 8), (8, 1, 24, 8)), ((8, 1, 24, 8), (8, 1, 24, 8))],
)
def test_a_sum_of_channels_last_maps_of_one_image_is_channels_last(strides):
    """The stride of the one image decides whether cuDNN's backward copies it: see `inside.py`."""
    ours = [Tensor((1, 8, 3, 3), stride, Storage(4 * 8 * 9), 4) for stride in strides]
    one, other = (torch.empty_strided((1, 8, 3, 3), stride, device="meta") for stride in strides)
    assert dense_stride_like(*ours) == (one + other).stride() == (72, 1, 24, 8)


def where_they_matter(shape: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
    """Nothing ever steps along a dimension of size 1, and torch itself gives it now one stride, now another."""
    return [(dim, step) for dim, (size, step) in enumerate(zip(shape, stride, strict=True)) if size != 1]


C, HEADS = 12, 3


def layer_of(window, rel_pos: str = "decomposed") -> LayerConfig:
    encoder = {"image_size": 8, "patch_size": 1, "embed_dim": C, "depth": 1, "num_heads": HEADS}
    (layer,) = load_config(encoder | {"window_size": window, "rel_pos": rel_pos}).layers
    return layer


def record(layer: LayerConfig, *shape) -> Recording:
    """The block on tokens (B, H, W, C), whose grid is that of the layer."""
    tape = Tape(4)
    vit.block(tape, tape.tensor(*shape), replace(layer, grid=shape[1:3]))
    return tape.recording()


def costs(op: Op) -> dict[str, object]:
    return {
        "macs": op.macs,
        "elementwise_flops": op.elementwise_flops,
        "params": sum(math.prod(parameter.shape) for parameter in op.parameters),
        "bytes_read": op.bytes_read,
        "bytes_written": op.bytes_written,
        "requested_bytes": sum(storage.nbytes for storage in op.allocates),
        "freed_bytes": sum(storage.nbytes for storage in op.frees),
        "saved_bytes": sum(storage.nbytes for storage in op.saves),
    }


def space_of(**points: list[int]) -> Space:
    return Space({name: np.array(values) for name, values in points.items()})


def at_points(space: Space, values: dict[str, object]) -> dict[str, object]:
    (evaluate,) = space.chunks()
    return {what: evaluate(value) for what, value in values.items()}


def at_point(values: dict[str, object], point: int) -> dict[str, int]:
    return {what: int(value if np.isscalar(value) else value[point]) for what, value in values.items()}


ALIKE = {
    "global": (0, [2, 3, 4], [4, 5, 9], [6, 2, 3]),
    "global, one image": (0, 1, [4, 5, 9], [6, 2, 3]),
    "windows that divide the grid": (3, [2, 3, 4], [6, 9, 12], [9, 6, 30]),
    "windows that do not": (3, [2, 3, 4], [4, 5, 7], [7, 8, 10]),
    "windows of two sides": ([2, 5], [2, 3, 4], [5, 7, 9], [6, 8, 9]),
    "window larger than the grid": (16, [2, 3, 4], [5, 7, 9], [6, 8, 9]),
}


@pytest.mark.parametrize("rel_pos", ["none", "decomposed", "joint"])
@pytest.mark.parametrize(("window", "batch", "height", "width"), ALIKE.values(), ids=ALIKE.keys())
def test_formulas_of_grids_give_at_each_point_what_numbers_give(window, batch, height, width, rel_pos):
    layer = layer_of(window, rel_pos)
    space = space_of(B=np.broadcast_to(batch, len(height)), H=height, W=width)
    images = batch if isinstance(batch, int) else space.symbol("B")
    recorded = record(layer, images, space.symbol("H"), space.symbol("W"), C)
    together = [at_points(space, costs(op)) for op in recorded.ops]
    sums = at_points(space, sums_of(recorded))
    for point, grid in enumerate(zip(height, width, strict=True)):
        alone = record(layer, int(np.broadcast_to(batch, len(height))[point]), *grid, C)
        assert [op.name for op in recorded.ops] == [op.name for op in alone.ops]
        assert [at_point(op, point) for op in together] == [costs(op) for op in alone.ops]
        assert at_point(sums, point) == sums_of(alone)


def sums_of(recording: Recording) -> dict[str, object]:
    live = live_over(recording)
    return {
        "macs": recording.macs,
        "flops": recording.flops,
        "elementwise_flops": recording.elementwise_flops,
        "params": recording.params,
        "saved_bytes": saved_bytes(recording),
        "peak_bytes": live.peak_bytes,
        "change": live.change,
    }


UNLIKE = {
    "padded and not": (3, [2, 2], [6, 7], [6, 6]),
    "padded across and not": (3, [2, 2], [6, 6], [6, 7]),
    "one window and several": (3, [2, 2], [3, 6], [3, 6]),
    "one image and several": (0, [1, 2], [6, 6], [6, 6]),  # for one the heads are split by a view
}


@pytest.mark.parametrize(("window", "batch", "height", "width"), UNLIKE.values(), ids=UNLIKE.keys())
def test_points_of_another_structure_cannot_be_passed_together(window, batch, height, width):
    space = space_of(B=batch, H=height, W=width)
    with pytest.raises(MixedPointsError):
        record(layer_of(window), *map(space.symbol, "BHW"), C)


MANY = space_of(B=[2, 3], rows=[2, 3], columns=[3, 2], w=[2, 3], H=[15, 71], W=[29, 30])
B, rows, columns, w, H, W = map(MANY.symbol, MANY.points)


def formula(windows, window, tokens, *, rel_pos: str):
    """Block FLOPs as ENCODERS.md has them: `windows` of (qh, qw) tokens each, an MLP on `tokens`."""
    qh, qw = window
    n, N, T = windows, qh * qw, windows * qh * qw
    terms = 2 * T * 3 * C**2 + 2 * T * C**2 + 4 * n * N**2 * C + 4 * tokens * C * (4 * C)
    return terms + {"none": 0, "decomposed": 2 * T * C * (qh + qw), "joint": 2 * T * C * N}[rel_pos]


def assert_same(one, other) -> None:
    assert repr(one - other) == "0"  # not only at the points


@pytest.mark.parametrize("rel_pos", ["none", "decomposed", "joint"])
@pytest.mark.parametrize("window", [(3, 3), (2, 5), (w, w)], ids=str)
def test_symbols_give_the_formula_of_a_windowed_block(window, rel_pos):
    height, width = rows * window[0], columns * window[1]
    layer = LayerConfig(0, 0, layer_of(3, rel_pos).stage, Placement(window), grid=(height, width), in_dim=C)
    found = record(layer, B, height, width, C)
    expected = formula(B * rows * columns, window, B * height * width, rel_pos=rel_pos)
    assert_same(found.flops, expected)
    assert_same(2 * found.macs, expected)


def test_symbols_give_the_formula_of_a_windowed_block_with_padding():
    found = record(layer_of(14), B, H, W, C)
    windows = B * -(-H // 14) * -(-W // 14)
    assert_same(found.flops, formula(windows, (14, 14), B * H * W, rel_pos="decomposed"))


@pytest.mark.parametrize("rel_pos", ["none", "decomposed", "joint"])
def test_symbols_give_the_formula_of_a_global_block(rel_pos):
    found = record(replace(layer_of(0, rel_pos), grid=(rows, columns)), B, rows, columns, C)
    assert_same(found.flops, formula(B, (rows, columns), B * rows * columns, rel_pos=rel_pos))


def test_symbols_give_the_formula_of_the_parameters():
    found = record(replace(layer_of(0), grid=(rows, columns)), B, rows, columns, C)
    assert_same(found.params, 12 * C**2 + 13 * C + C // HEADS * (2 * rows - 1 + 2 * columns - 1))
