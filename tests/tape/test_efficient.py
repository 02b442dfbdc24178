"""The workspace of memory-efficient attention's backward: bytes that torch 2.14.1 allocates for tiles over the dry device.

Compared there in 780 cases (bfloat16, float16 and float32; heads of 32 to 256) for each of an A100, an L4 and an H100, and in 520
for a T4.
"""

from __future__ import annotations

import pytest

from samattn_cli.tape.efficient import efficient_workspace
from samattn_cli.tape.inside import Cuda

HALF, SINGLE = 2, 4
A100, L4, T4, H100 = Cuda(8.0), Cuda(8.9), Cuda(7.5), Cuda(9.0)


@pytest.mark.parametrize(
    ("cuda", "item_bytes", "heads", "rows", "keys", "d", "e", "tiles"),
    [
        # SAM ViT-B's fused kernel in a global block: 64 columns of a head, and 2 x 64 of the bias
        (A100, HALF, 12, 4096, 4096, 192, 64, 56_641_536),
        (L4, HALF, 12, 4096, 4096, 192, 64, 56_641_536),
        (A100, HALF, 8, 300, 200, 160, 64, 5_506_176),
        (A100, HALF, 8, 300, 200, 256, 64, 6_292_992),
        (A100, HALF, 8, 300, 200, 160, 160, 6_554_752),
        (A100, HALF, 8, 300, 500, 192, 64, 8_651_904),
        (T4, HALF, 8, 300, 200, 192, 64, 5_506_176),
        # heads of 65 to 128
        (A100, HALF, 8, 300, 200, 128, 64, 1_573_248),
        (L4, HALF, 8, 300, 200, 128, 64, 2_884_864),
        (L4, HALF, 8, 300, 200, 128, 128, 3_409_152),
        (T4, HALF, 8, 300, 200, 128, 64, 1_573_632),
        # values wider than queries decide the kernel, too
        (A100, HALF, 8, 300, 200, 64, 192, 3_932_544),
        (T4, HALF, 8, 300, 200, 64, 128, 786_816),
        (A100, SINGLE, 8, 300, 200, 64, 128, 786_816),
        (A100, SINGLE, 8, 300, 200, 192, 64, 2_360_448),
    ],
)
def test_tiles_and_what_is_accumulated(cuda, item_bytes, heads, rows, keys, d, e, tiles) -> None:
    capability = {"is_roomy": cuda.is_roomy, "is_turing": cuda.compute_capability < 8}
    taken = efficient_workspace((1, heads, rows, d), keys, e, item_bytes, **capability)
    assert taken.tiles == tiles
    assert taken.sums == heads * rows * 4


def test_keys_are_split_into_at_most_200_parts_over_all_heads() -> None:
    """Per head: 3 x 3 tiles of 128 x 64 numbers and 4, and of each part of 64 keys 256 + 128 numbers."""
    queries = 3 * 3 * (128 * 64 + 4)
    for heads, parts in ((8, 8), (50, 4), (100, 2), (150, 1), (300, 1)):
        taken = efficient_workspace((1, heads, 300, 192), 512, 64, HALF)
        assert taken.tiles == 4 * heads * (queries + parts * 64 * (256 + 128))
