from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.config.model import LayerConfig
from samattn_cli.cost import vit
from samattn_cli.cost.memory import live_over, saved_bytes
from samattn_cli.cost.tape import Recording, Tape
from samattn_cli.cost.tensor import MixedStructureError, Tensor, dense_stride_like, view_stride

PROPERTY = settings(max_examples=500, deadline=None, derandomize=True)

SIZES = st.sampled_from([1, 1, 2, 3, 4, 6])


@st.composite
def strided_pairs(draw) -> tuple[Tensor, torch.Tensor]:
    """The same strided view on the Tape and in torch: permuted, narrowed and permuted again."""
    shape = draw(st.lists(SIZES, min_size=1, max_size=5))
    ours, theirs = Tape(4).tensor(*shape), torch.empty(shape, device="meta")
    for _ in range(draw(st.integers(0, 2))):
        order = draw(st.permutations(range(len(shape))))
        ours, theirs = ours.permute(*order), theirs.permute(order)
        if draw(st.booleans()):
            corner = tuple(draw(st.integers(1, size)) for size in theirs.shape)
            ours, theirs = ours.narrow(corner), theirs[tuple(map(slice, corner))]
    assert (ours.shape, ours.stride) == (tuple(theirs.shape), theirs.stride())
    return ours, theirs


@st.composite
def shapes_to_view(draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of as many elements: the dimensions split into their primes, and these joined again, with ones between."""
    primes = [prime for size in shape for prime, times in sympy.factorint(size).items() for _ in range(times)]
    if draw(st.booleans()):
        primes = draw(st.permutations(primes))
    cuts = sorted(draw(st.lists(st.integers(0, len(primes)), max_size=4)))
    groups = [primes[a:b] for a, b in zip([0, *cuts], [*cuts, len(primes)], strict=True)]
    return tuple(int(np.prod(group, dtype=int)) for group in groups)


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


@pytest.mark.parametrize(
    "operation",
    [
        torch.neg,
        lambda x: x * 0.5,
        lambda x: x + torch.empty((), device="meta"),
        lambda x: x + torch.empty_like(x),
        lambda x: x + torch.empty(x.shape, device="meta"),
    ],
    ids=["unary", "with a number", "with a 0-d tensor", "with a tensor like it", "with a contiguous tensor"],
)
@PROPERTY
@given(pair=strided_pairs())
def test_an_elementwise_result_has_the_strides_that_torch_gives_it(operation, pair):
    ours, theirs = pair
    assert where_they_matter(ours.shape, dense_stride_like(ours)) == where_they_matter(
        ours.shape, operation(theirs).stride()
    )


def where_they_matter(shape: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
    """Nothing ever steps along a dimension of size 1, and torch itself gives it now one stride, now another."""
    return [(dim, step) for dim, (size, step) in enumerate(zip(shape, stride, strict=True)) if size != 1]
