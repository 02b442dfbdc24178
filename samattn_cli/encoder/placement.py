"""Where a layer attends: everywhere, in windows of a size, in a number of windows, or over channels.

Sizes are in tokens along each axis of the grid: (high, wide) or, of a video or a volume, (deep, high, wide).

Only this module and the keys of a config know that a `window_size` of 0 means everywhere. A number of windows stays the
same at every resolution, as in LW-DETR (arXiv:2406.03459) and RF-DETR; their code calls it `num_windows_side` and
`num_windows`. Attention over channels, as in DaViT (arXiv:2204.03645), compares channels and not tokens: its score matrix
has a row and a column for each channel of a head, each the sum over all tokens.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

from ..records import dataclass, replace
from ..units import format_side, format_size
from .keys import Size

Kind = Literal["window", "global", "channel", "convolution"]
"""A kind of placement."""

NO_WINDOW: Size = (0, 0)
"""The window of a global layer, and of one over channels, in configs and reports."""

GLOBAL_VALUES = {"window_size": 0, "num_windows_side": 1}
"""The keys of a stage that set where its blocks attend, of which only one may be set; each with its value for global."""

UNCUT: Size = (1, 1)
"""The windows of a grid that is not cut, whatever its axes."""

UNSHIFTED: Size = (0, 0)
"""The shift of windows that start at the corner of the grid, whatever its axes."""


def each_is(number: int, size: Size) -> bool:
    """Whether each side of a size is this number. Sides may be formulas."""
    return all(side == number for side in size)


class Along(NamedTuple):
    """Windows along one axis: their side, the number of windows with this side, and the side of a smaller last one or 0."""

    side: int
    often: int
    rest: int

    @property
    def number(self) -> int:
        """The number of windows."""
        return self.often + bool(self.rest)

    @property
    def covered(self) -> int:
        """The tokens that they cover, with padding."""
        return self.side * self.often + self.rest


class Windows(tuple[Along, ...]):
    """The windows of a layer along each axis of its grid. A global layer has one window, the grid."""

    __slots__ = ()

    @property
    def size(self) -> Size:
        """The size in tokens of a whole window."""
        return tuple([along.side for along in self])

    @property
    def counts(self) -> Size:
        """The number of windows along each axis. The last ones may extend beyond the grid, or be smaller."""
        return tuple([along.number for along in self])

    @property
    def number(self) -> int:
        """The number of windows."""
        return prod(self.counts)

    @property
    def covered(self) -> Size:
        """The tokens along each axis that the windows cover: the grid with its padding."""
        return tuple([along.covered for along in self])

    def pooled(self, stride: int) -> Windows:
        """The same number of windows, pooled with a stride that divides them."""
        return Windows(Along(side // stride, often, rest // stride) for side, often, rest in self)


@dataclass(frozen=True)
class Placement:
    """Where a layer attends, independent of its grid. Global attention is a grid cut into one window.

    A layer that attends over channels reads its whole grid, but no token attends to another: it is neither global nor
    windowed.

    Attributes:
        size: tokens of a window along each axis; None if the grid is cut into `count` windows.
        count: the number of windows along each axis that the grid is cut into; it must divide the grid.
        shift: cyclic shift of the windows in tokens along each axis.
        pads: whether the last windows extend over padding beyond the grid; otherwise they are smaller.
        over_channels: whether channels attend to channels, over all tokens.
        attends: whether it attends at all; a layer of convolutions does not.
        reach: the tokens along each axis by which a window of keys is larger than its window of queries, half of them on each
            side, as in HAT (arXiv:2205.04437).
    """

    size: Size | None = None
    count: Size = UNCUT
    shift: Size = UNSHIFTED
    pads: bool = True
    over_channels: bool = False
    attends: bool = True
    reach: Size = UNSHIFTED

    @property
    def is_global(self) -> bool:
        """Whether each token attends to the whole grid, on any grid."""
        return self.size is None and each_is(1, self.count) and self._over_tokens

    @property
    def is_windowed(self) -> bool:
        """Whether each token attends to those of its window."""
        return not self.is_global and self._over_tokens

    @property
    def _over_tokens(self) -> bool:
        return self.attends and not self.over_channels

    @property
    def kind(self) -> Kind:
        """In a word, which reports and rules have: "window", "global", "channel" or "convolution"."""
        if not self._over_tokens:
            return "channel" if self.attends else "convolution"
        return "global" if self.is_global else "window"

    @property
    def is_shifted(self) -> bool:
        """Whether the windows are shifted."""
        return not each_is(0, self.shift)

    @property
    def words(self) -> str:
        """In words: "global", "channels", "convolution", "window 7x7", "7x7 shift 3", "4x4 windows", "7x7 keys 9x9"."""
        if not self._over_tokens:
            return "channels" if self.attends else "convolution"
        if self.is_global:
            return "global"
        if self.size is None:
            return f"{format_size(self.count)} windows{self._shift_in_words}"
        if self.reach != (0, 0):
            return f"{format_size(self.size)} keys {format_size(self._keys_of(self.size))}"
        if not self.is_shifted:
            return f"window {format_size(self.size)}"
        return f"{format_size(self.size)}{self._shift_in_words}"

    @property
    def _shift_in_words(self) -> str:
        return self.is_shifted * f" shift {format_side(self.shift)}"

    def divides(self, grid: Size) -> bool:
        """Whether a grid can be cut into these windows. Windows of a fixed size fit any grid."""
        return (
            self.size is not None
            or not self.is_windowed
            or not any(whole % count for whole, count in zip(grid, self.count, strict=True))
        )

    def reported_over(self, grid: Size) -> Size:
        """The window in reports: zeros for a layer without windows."""
        return self.over(grid).size if self.is_windowed else (0,) * len(grid)

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a stage that set it, without the shift."""
        count = self.count if self.is_windowed and self.size is None else None
        return {"window_size": self.size or NO_WINDOW, "num_windows_side": count}

    @property
    def setting(self) -> str:
        """The key of a stage that sets it, in the form of `--set`: "window_size=14x14"."""
        key, value = next((key, value) for key, value in reversed(self.keys.items()) if value is not None)
        return f"{key}={format_size(value)}"

    def shifted(self, shift: Size) -> Placement:
        """The placement with shifted windows; one without windows does not change."""
        return replace(self, shift=shift) if self.is_windowed and self.shift != shift else self

    def over(self, grid: Size) -> Windows:
        """The windows on a grid; without windows, one that is the grid."""
        return Windows([self._along(axis, whole) for axis, whole in enumerate(grid)])

    def keys_over(self, grid: Size) -> Size:
        """The tokens along each axis of a window of keys on a grid."""
        window = self.over(grid).size
        return self._keys_of(window) if self.is_windowed else window

    def reach_over(self, grid: Size) -> Size:
        """`reach`, with a side for each axis of a grid."""
        return (0,) * len(grid) if each_is(0, self.reach) else self.reach

    def _keys_of(self, window: Size) -> Size:
        return tuple([side + by for side, by in zip(window, self.reach_over(window), strict=True)])

    def _along(self, axis: int, whole: int) -> Along:
        if self.size is None:
            often = 1 if each_is(1, self.count) else self.count[axis]
            return Along(whole // often, often, 0)
        side = self.size[axis]
        return Along(side, -(-whole // side), 0) if self.pads else Along(side, *divmod(whole, side))


EVERYWHERE = Placement()
"""A global layer."""

OVER_CHANNELS = Placement(over_channels=True)
"""A layer in which channels attend to channels."""

NOWHERE = Placement(attends=False)
"""A layer of convolutions, which does not attend."""


def placement_of(window_size: Size, num_windows_side: Size | None = None, *, pads: bool = True) -> Placement:
    """The placement that the keys of a stage set."""
    if num_windows_side is not None:
        return Placement(count=num_windows_side)
    return EVERYWHERE if each_is(0, window_size) else Placement(window_size, pads=pads)
