"""The caching allocator: its rules worked out, and step by step what torch's own counted (see `dry/allocator.py`)."""

from __future__ import annotations

import json

import pytest

from samattn_cli.tape.allocator import MIB, Allocator, OutOfMemoryError
from samattn_cli.tape.replay import allocator_of
from tests.tape.dry.allocator import CAPACITY, PATH, SETTINGS

RECORDED = json.loads(PATH.read_text("utf-8"))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_step_is_counted_as_torch_counts_it(setting: str) -> None:
    outs_of_memory = 0
    for steps in RECORDED[setting]:
        allocator, live = allocator_of(setting, CAPACITY), {}
        for number, (step, *counted) in enumerate(steps):
            if step < 0:
                allocator.free(live.pop(-step - 1))
            elif step == 0:
                allocator.empty_cache()
            else:
                try:
                    live[number] = allocator.allocate(step)
                except OutOfMemoryError:
                    outs_of_memory += 1
            ours = [
                allocator.allocated,
                allocator.peak_allocated,
                allocator.reserved,
                allocator.peak_reserved,
            ]
            assert ours == counted, (setting, number, step)
    assert outs_of_memory


def test_requests_are_rounded_to_512_and_small_ones_share_2_mib() -> None:
    allocator = Allocator()
    allocator.allocate(1)
    allocator.allocate(513)
    assert (allocator.allocated, allocator.reserved) == (512 + 1024, 2 * MIB)


def test_a_request_of_nothing_takes_nothing() -> None:
    allocator = Allocator()
    assert allocator.allocate(0) is None
    allocator.free(None)
    assert (allocator.allocated, allocator.reserved) == (0, 0)


@pytest.mark.parametrize(
    ("nbytes", "segment"),
    [(MIB, 2), (MIB + 1, 20), (10 * MIB - 512, 20), (10 * MIB, 10), (10 * MIB + 1, 12), (21 * MIB, 22)],
)
def test_the_segment_that_a_request_asks_for(nbytes: int, segment: int) -> None:
    allocator = Allocator()
    allocator.allocate(nbytes)
    assert allocator.reserved == segment * MIB


def test_a_rest_of_1_mib_is_not_split_off_and_counts() -> None:
    """20 MiB are reserved; 19 of them leave 1 MiB, which stays with the tensor, and one byte less does not."""
    for nbytes, counted in ((9 * MIB + 512, 9 * MIB + 512), (9 * MIB, 9 * MIB)):
        allocator = Allocator()
        allocator.allocate(nbytes)
        assert allocator.allocated == counted
    allocator = Allocator()
    block = allocator.allocate(21 * MIB)
    allocator.free(block)
    allocator.allocate(21 * MIB)  # of 22
    assert allocator.allocated == 22 * MIB


def test_free_neighbours_merge_and_the_smallest_block_that_holds_a_request_is_taken() -> None:
    allocator = Allocator()
    blocks = [allocator.allocate(5 * MIB) for _ in range(4)]
    for block in blocks:
        allocator.free(block)
    allocator.allocate(20 * MIB)
    assert allocator.reserved == 20 * MIB
    other = allocator.allocate(30 * MIB)
    allocator.free(other)
    allocator.allocate(28 * MIB)
    assert allocator.reserved == 50 * MIB


def test_what_is_free_is_given_back_before_memory_runs_out() -> None:
    allocator = Allocator(100 * MIB)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.allocate(80 * MIB)
    assert (allocator.reserved, allocator.peak_reserved) == (80 * MIB, 80 * MIB)
    with pytest.raises(OutOfMemoryError) as error:
        allocator.allocate(30 * MIB)
    assert error.value.nbytes == 30 * MIB
    assert allocator.allocated == 80 * MIB


def test_no_multiple_of_the_live_bytes_bounds_what_is_reserved() -> None:
    """1 GiB is live at most. Every other block stays while requests double: each size has no place, and needs half of it anew."""
    allocator, blocks = Allocator(), []
    for power in range(8):
        size = 2 * MIB << power
        blocks += [allocator.allocate(size) for _ in range((1024 * MIB - allocator.allocated) // size)]
        for block in blocks[1::2]:
            allocator.free(block)
        blocks = blocks[::2]
    assert allocator.peak_allocated == 1024 * MIB
    assert allocator.peak_reserved == 4724 * MIB
