"""Sine encodings of the places of a map, as transformers writes them for SAM 2 and SAM 3.

Source: transformers 5.23.0, Sam2SinePositionEmbedding and Sam3SinePositionEmbedding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .storage import Dim
from .tape import Tape
from .tensor import Tensor


def sine_positions(tape: Tape, level: int, x: Tensor) -> Tensor:
    """The sine encoding of the places of a map: (B, C, H, W). It does not depend on the image: no FLOPs count."""
    B, C, H, W = x.shape
    with tape.module(f"position_encoding.{level}"):
        make = partial(_made, tape, x.item_bytes)
        numbers = make("rows.number", H), make("columns.number", W)
        rows = _scaled(make, tape, "rows", numbers[0].view(1, H, 1).expand_to(B, H, W), dim=1)
        columns = _scaled(make, tape, "columns", numbers[1].view(1, 1, W).expand_to(B, H, W), dim=2)
        periods = _periods(tape, x.item_bytes, C // 2)
        make = partial(_made, tape, periods.item_bytes)
        angles = [make(name, B, H, W, C // 2) for name in ("columns.angle", "rows.angle")]
        of_columns, of_rows = (
            _waves(make, tape, name, each) for name, each in zip(("columns", "rows"), angles, strict=True)
        )
        out = make("cat", B, H, W, C, reads=(of_rows, of_columns))
        tape.free(rows, columns, periods, of_columns, of_rows)
    return out.permute(0, 3, 1, 2)


def _made(tape: Tape, item_bytes: int, name: str, *shape: Dim, reads: tuple[Tensor, ...] = ()) -> Tensor:
    return tape.computed(name, *shape, item_bytes=item_bytes, reads=reads)


Make = Callable[..., Tensor]


def _scaled(make: Make, tape: Tape, name: str, numbers: Tensor, dim: int) -> Tensor:
    """Numbers along a dimension divided by the last of them, times a full turn: (B, H, W)."""
    last = numbers.slice(dim, numbers.shape[dim] - 1)
    bound = make(f"{name}.bound", *last.shape, reads=(last,))
    share = make(f"{name}.share", *numbers.shape, reads=(numbers, bound))
    tape.free(bound)
    out = make(f"{name}.scale", *numbers.shape, reads=(share,))
    tape.free(share, numbers)
    return out


def _periods(tape: Tape, item_bytes: int, number: Dim) -> Tensor:
    """The period of each pair of channels, a power of the temperature: (number)."""
    integers = tape.integers("periods.number", number)
    x = first = _made(tape, item_bytes, "periods.cast", number, reads=(integers,))
    tape.free(integers)
    for name in ("halve", "double", "share"):
        out = _made(tape, item_bytes, f"periods.{name}", number, reads=(x,))
        tape.free(*(() if x is first else (x,)))
        x = out
    out = tape.power("periods.power", x)
    tape.free(x, first)
    return out


def _waves(make: Make, tape: Tape, name: str, angles: Tensor) -> Tensor:
    """Sines of the even channels next to cosines of the odd ones: (B, H, W, C / 2)."""
    *size, channels = angles.shape
    sines, cosines = (
        make(f"{name}.{wave}", *size, channels // 2, reads=(angles,)) for wave in ("sin", "cos")
    )
    out = make(f"{name}.stack", *size, channels, reads=(sines, cosines))
    tape.free(sines, cosines, angles)
    return out
