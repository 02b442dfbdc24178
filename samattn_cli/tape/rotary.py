"""Rotary positions of a grid on the Tape, with real numbers; in torch: `samattn_cli/stack/rotary.py`."""

from __future__ import annotations

from collections.abc import Callable

from ..units import ITEM_BYTES
from .storage import Dim, Shape
from .tape import Tape
from .tensor import Tensor

WIDE = ITEM_BYTES["float32"]
"""Angles are computed, and queries and keys rotated, in float32."""

QuarterTurn = Callable[[Tape, str, Tensor], Tensor]
"""(tape, name, x) -> each pair of channels (a, b) of x as (-b, a). Families pair channels in different ways."""


def rotations(tape: Tape, size: Shape, head_dim: Dim) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of H x W tokens: (HW, d) each. They do not depend on the image: no FLOPs count."""
    (H, W), quarter = size, head_dim // 4
    frequencies = tape.computed("frequencies", quarter, item_bytes=WIDE)
    rows, columns = _angles(tape, H, frequencies), _angles(tape, W, frequencies)
    halves = columns.expanded((H, W, quarter)), rows.view(H, 1, quarter).expanded((H, W, quarter))
    angles = tape.computed("angles", H, W, 2 * quarter, item_bytes=WIDE, reads=halves)
    twice = tape.computed("pairs", H * W, head_dim, item_bytes=WIDE, reads=(angles,))
    tape.free(angles)
    cos, sin = (
        tape.computed(name, H * W, head_dim, item_bytes=WIDE, reads=(twice,)) for name in ("cos", "sin")
    )
    tape.free(twice, rows, columns, frequencies)
    return cos, sin


def _angles(tape: Tape, length: Dim, frequencies: Tensor) -> Tensor:
    """The angles of each place along an axis: (length, d / 4)."""
    quarter = frequencies.elements
    places = tape.computed("places", length, item_bytes=WIDE)
    scaled = tape.computed("scale_frequencies", quarter, item_bytes=WIDE, reads=(frequencies,))
    out = tape.computed("outer", length, quarter, item_bytes=WIDE, reads=(places, scaled))
    tape.free(places, scaled)
    return out


def angles_of(tape: Tape, position_ids: Tensor, head_dim: Dim) -> tuple[Tensor, dict[str, Tensor]]:
    """Angles of tokens (HW, 2), and their cosines and sines by name, as transformers makes them: (HW, 2, d / 4) each.

    Its module has two buffers of frequencies, of which it reads the first.
    """
    tokens, quarter = position_ids.shape[0], head_dim // 4
    buffers = tape.buffer(quarter), tape.buffer(quarter)
    places = tape.cast("places", position_ids, WIDE)
    frequencies = tape.cast("frequencies", buffers[0], WIDE)
    angles = tape.computed("angles", tokens, 2, quarter, item_bytes=WIDE, reads=(places, frequencies))
    tape.free(*(each for each in (places, frequencies) if not each.storage.is_weight))
    axes = {}
    for name in ("cos", "sin"):
        unscaled = tape.computed(name, *angles.shape, item_bytes=WIDE, reads=(angles,))
        axes[name] = tape.computed(f"scale_{name}", *angles.shape, item_bytes=WIDE, reads=(unscaled,))
        tape.free(unscaled)
    return angles, axes


def rotate(tape: Tape, name: str, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (B, h, HW, d) rotated in float32; the result has the type of `x`."""
    wide = tape.cast(f"{name}.float", x, WIDE)
    summed = turn(tape, name, wide, cos, sin, quarter_turn)
    out = tape.cast(f"{name}.cast", summed, x.item_bytes)
    tape.free(*(each for each in (wide, summed) if each.storage not in {x.storage, out.storage}))
    return out


def turn(tape: Tape, name: str, x: Tensor, cos: Tensor, sin: Tensor, by_quarter: QuarterTurn) -> Tensor:
    """``x * cos + by_quarter(x) * sin``: pairs of channels rotated by their angles."""
    straight = tape.mul(f"{name}.cos", x, cos)
    turned = by_quarter(tape, name, x)
    across = tape.mul(f"{name}.sin", turned, sin)
    tape.free(turned)
    out = tape.add(f"{name}.add", straight, across)
    tape.free(straight, across)
    return out


def quarter_turn(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Each pair of channels (a, b) as (-b, a)."""
    *shape, width = x.shape
    a, b = x.view(*shape, width // 2, 2).unbind(-1)
    negative = tape.neg(f"{name}.neg", b)
    out = tape.stack(f"{name}.stack", (negative, a), -1)
    tape.free(negative)
    return out.view(*x.shape)
