"""What an embedding's backward allocates inside, in the order in which torch 2.14.1 did over the dry device."""

from __future__ import annotations

from typing import Any

import pytest

from samattn_cli.tape.cub import sum_bytes, unique_bytes
from samattn_cli.tape.inside import Cuda, steps
from samattn_cli.tape.ops import Op
from samattn_cli.tape.requests import FREE, program_of
from samattn_cli.tape.storage import Storage


def op_of(
    rows: int, width: int, table: int, *, item_bytes: int = 4, stride: tuple[int, int] | None = None
) -> Op:
    return Op(
        "position_embedding.grad_table",
        "index",
        "position_embedding",
        allocates=(Storage(table * width * item_bytes),),
        entering=(rows, width),
        leaving=(table, width),
        strides=(stride or (width, 1),),
    )


def sizes_of(op: Op) -> list[int]:
    """Bytes of each allocation, negative where it is freed."""
    found: list[int] = []
    live: dict[Any, int] = {}
    made = program_of(_Recording(op), Cuda(), frozenset())  # type: ignore[arg-type]
    for nbytes, key, _ in made.requests:
        if nbytes > 0:
            live[key] = nbytes
        found.append(-live.pop(key) if nbytes == FREE else nbytes)
    return found


class _Recording:
    """A recording of one operation."""

    buffers = ()
    only_first = ()

    def __init__(self, op: Op) -> None:
        self.ops = (op,)


BEFORE = [24584, 24584, 24584, 55295, -55295, -24584]
AFTER = [24584, 8, 24584, 1279, -1279, -24584, 8192, 8192, 1279, -1279, 8, 10648, 42592]
AFTER += [-42592, -10648, -8, -8192, -8192, -8, -24584, -24584, -24584]


@pytest.mark.parametrize(("item_bytes", "result"), [(4, 32768), (2, 16384)])
def test_more_than_3072_rows_are_sorted_and_summed_in_float32(item_bytes: int, result: int) -> None:
    assert sizes_of(op_of(3072, 8, 1024, item_bytes=item_bytes)) == [result]
    assert sizes_of(op_of(3073, 8, 1024, item_bytes=item_bytes)) == [*BEFORE, result, *AFTER]


def test_a_gradient_that_is_not_contiguous_is_copied_first() -> None:
    transposed = op_of(3073, 16, 100, stride=(1, 3073))
    assert sizes_of(transposed) == [196672, *sizes_of(op_of(3073, 16, 100)), -196672]
    assert steps(op_of(3000, 16, 100, stride=(1, 3000)), Cuda()) == (192000, None)


@pytest.mark.parametrize(
    ("keys", "capability", "nbytes"),
    [
        (21504, 8.0, 1279),
        (21505, 8.0, 1535),
        (5120, 8.9, 1279),
        (5121, 8.9, 1535),
        (5121, 7.5, 1535),
        (78848, 9.0, 1279),
        (78849, 9.0, 1535),
        (78849, 12.0, 1535),
        (86017, 8.0, 2303),
    ],
)
def test_unique_keys_take_what_cub_took(keys: int, capability: float, nbytes: int) -> None:
    assert unique_bytes(keys, Cuda(capability)) == nbytes


@pytest.mark.parametrize(("numbers", "nbytes"), [(3, 1279), (14336, 1279), (14337, 1535), (57345, 2303)])
def test_an_exclusive_sum_takes_what_cub_took(numbers: int, nbytes: int) -> None:
    assert sum_bytes(numbers) == nbytes
