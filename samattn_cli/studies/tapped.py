"""Tensors that a part takes besides the stream (ends of stages, positions), in shapes of symbols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from ..encoder.plan import LayerConfig, PartConfig
from ..records import dataclass, replace
from ..tape.segments import Segment
from ..tape.storage import Shape, Storage
from ..tape.symbols.formula import Integer
from ..tape.tensor import IMAGE_DIMS, Tensor, ceil_div
from ..units import INT64_BYTES, ITEM_BYTES

MOST_TAPS = 9
GRID = ("T", "H", "W")
"""The symbols of the axes of a grid: of an image the last two."""
OWN = {
    "T": "tokens along the frames, or the depth, of the grid of {}",
    "H": "tokens down the grid of {}",
    "W": "tokens across the grid of {}",
    "N": "tokens or patches of {}",
    "C": "width of {}",
}
TAPPED = tuple(f"{letter}{number}" for number in range(1, MOST_TAPS + 1) for letter in OWN)
"""Symbols for sizes that the stream does not have: for the first tap H1, W1 and C1, or N1 and C1."""

WINDOW = ("t", "v", "u")
"""The symbols of the sides of a window along them, if it is not square."""
NUMBER_OF_WINDOWS, OF_A_WINDOW = "windows", "window"

TOKENS = "tokens"
"""The tokens of all images, if these are packed; "tokens/4" is a quarter as many."""


@dataclass(frozen=True)
class Tap:
    """A tensor that a part taps, the symbol of each of its sides, and where it comes from.

    Attributes:
        tensor: the tensor.
        sides: the symbols; none if its shape is that of the stream.
        source: the name of the part that made it.
        is_like_stream: whether it has the shape of the stream, cut into windows.
    """

    tensor: Tensor
    sides: tuple[str, ...]
    source: str
    is_like_stream: bool = False

    @property
    def values(self) -> dict[str, int]:
        """The values of the symbols that only this tap has."""
        return {
            side: size
            for side, size in zip(self.sides, self.tensor.shape, strict=not self.is_like_stream)
            if side in TAPPED and isinstance(size, int)
        }

    @property
    def meanings(self) -> dict[str, str]:
        """The meanings of these symbols."""
        return {side: OWN[side[0]].format(self.source) for side in self.values}

    def entered(self, names: Mapping[str, Integer], stream: Shape) -> Tensor:
        """The tensor with a shape of symbols; `stream` is that of the stream. The run does not change the type of positions."""
        shape = stream if self.is_like_stream else tuple(_size(side, names) for side in self.sides)
        is_own = self.source == "pos_embed" or self.tensor.item_bytes not in ITEM_BYTES.values()
        item_bytes = self.tensor.item_bytes if is_own else names["s"]
        storage = Storage(prod(shape) * item_bytes)
        steps = self.tensor.stride
        return replace(self.tensor, shape=shape, steps=steps, item_bytes=item_bytes, storage=storage)


def taps_of(part: PartConfig | LayerConfig, segment: Segment, batch: int) -> tuple[Tap, ...]:
    """The tensors that a part or block takes besides the stream."""
    tensors = zip(segment.entries[1:], segment.sources[1:], strict=True)
    return tuple(
        Tap(tensor, (), source, is_like_stream=True)
        if part.layout.cuts_images and tensor.shape == segment.entries[0].shape
        else Tap(tensor, tuple(_sides(part, tensor, str(number), batch)), source)
        for number, (tensor, (source, _)) in enumerate(tensors, 1)
    )


def _sides(part: PartConfig | LayerConfig, tensor: Tensor, number: str, batch: int) -> Iterator[str]:
    """The symbols of a tensor's sides: those of the stream, or its own with the number of the tap."""
    grid = part.grid if isinstance(part, LayerConfig) else part.entering.grid
    first, *others = tensor.shape
    is_of_windows = tensor.item_bytes == INT64_BYTES or (len(others) == len("NN") and others[0] == others[1])
    if first != batch and is_of_windows and not part.layout.joins_images:  # an index, or masks: of no image
        yield from _of_windows(part, tensor.shape)
        return
    if (
        len(others) == IMAGE_DIMS - 1 and prod(others[1:]) == 1
    ):  # a number for each channel, the same for all images
        yield from map(str, (1, *others))
        return
    yield _first(part, first, batch * prod(grid))
    if not others:
        return
    *inner, last = others
    axes = GRID[-len(grid) :]
    match inner:
        case [channels, *sides] if (*sides, last) == grid:  # (B, C, H, W)
            yield from (_channels(part, channels, number), *axes)
            return
        case _ if len(inner) == len(grid):
            yield from axes if tuple(inner) == grid else (f"{axis}{number}" for axis in axes)
        case [_]:
            yield f"N{number}"
        case []:
            if first == batch:  # (B, N)
                yield f"N{number}"
                return
    yield _channels(part, last, number)


def _of_windows(part: PartConfig | LayerConfig, shape: Shape) -> Iterator[str]:
    """The sides of an index, which are numbers, or of the masks of all windows, (windows, N, N)."""
    cuts = part.windows if isinstance(part, LayerConfig) else None
    if cuts is None or shape != (cuts.number, prod(cuts.size), prod(cuts.size)):
        yield from map(str, shape)
        return
    yield from (NUMBER_OF_WINDOWS, OF_A_WINDOW, OF_A_WINDOW)


def _first(part: PartConfig | LayerConfig, size: Integer, tokens: int) -> str:
    if not part.layout.joins_images:
        return "B"
    return (
        str(size) if tokens % size else f"{TOKENS}/{tokens // size}"
    )  # the ends of images may outnumber tokens


def _channels(part: PartConfig | LayerConfig, size: Integer, number: str) -> str:
    if isinstance(part, LayerConfig):
        return "d" if size == part.stage.embed_dim // part.stage.num_heads else f"C{number}"
    return "C" if size == part.entering.dim else f"C{number}"


def _size(side: str, names: Mapping[str, Integer]) -> Integer:
    if side.startswith(TOKENS):
        return names["B"] * names["H"] * names["W"] // int(side.removeprefix(f"{TOKENS}/"))
    if side == OF_A_WINDOW:
        return prod(window_in(names))
    if side == NUMBER_OF_WINDOWS:
        return prod(map(ceil_div, axes_in(names), window_in(names)))
    return int(side) if side.isdecimal() else names[side]


def window_in(names: Mapping[str, Integer]) -> tuple[Integer, ...]:
    """The sides of a window."""
    if "w" in names:
        return (names["w"],) * len(axes_in(names))
    return tuple(names[axis] for axis in WINDOW if axis in names)


def axes_in(names: Mapping[str, Integer]) -> list[Integer]:
    """The sides of the grid."""
    return [names[axis] for axis in GRID if axis in names]
