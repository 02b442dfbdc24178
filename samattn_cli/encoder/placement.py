"""Where a layer attends: everywhere, in windows of a size, or in a number of windows. Sizes are in tokens, (high, wide).

Only this module and the keys of a config know that a `window_size` of 0 means everywhere. A number of windows stays the
same at every resolution, as in LW-DETR (arXiv:2406.03459) and RF-DETR; their code calls it `num_windows_side` and
`num_windows`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..units import format_size
from .keys import Pair

NO_WINDOW: Pair = (0, 0)
"""What a config and a report write as the window of a global layer."""

SAYS_GLOBAL = {"window_size": 0, "num_windows_side": 1}
"""The keys of a stage that say where its blocks attend, one of them at a time, and what each says for everywhere."""

UNSHIFTED: Pair = (0, 0)
"""The shift of windows that begin where the grid begins."""


class Along(NamedTuple):
    """Windows along one axis of a grid: their side, how many have it, and the side of a smaller last one (0: none)."""

    side: int
    often: int
    rest: int

    @property
    def number(self) -> int:
        """How many there are."""
        return self.often + bool(self.rest)

    @property
    def covered(self) -> int:
        """Tokens that they cover, padding included."""
        return self.side * self.often + self.rest


class Windows(NamedTuple):
    """The windows of a layer over its grid; a global layer has one, which is the grid."""

    down: Along
    across: Along

    @property
    def size(self) -> Pair:
        """Tokens of a whole window."""
        return self.down.side, self.across.side

    @property
    def counts(self) -> Pair:
        """(Rows, columns) of windows; the last of each may reach beyond the grid, or be smaller."""
        return self.down.number, self.across.number

    @property
    def covered(self) -> Pair:
        """Tokens that the windows cover: the grid with its padding."""
        return self.down.covered, self.across.covered

    def pooled(self, stride: int) -> Windows:
        """As many windows, pooled by a stride that divides them."""
        return Windows(*(Along(side // stride, often, rest // stride) for side, often, rest in self))


@dataclass(frozen=True)
class Placement:
    """Where a layer attends, whatever its grid is; everywhere is a grid cut into one window.

    Attributes:
        size: tokens of a window; None: the grid is cut into `count` windows.
        count: windows (down, across) that a grid is cut into, which must divide it.
        shift: tokens (down, right) by which windows are cyclically shifted.
        pads: whether the last windows of a size reach over padding beyond the grid; else they are smaller.
    """

    size: Pair | None = None
    count: Pair = (1, 1)
    shift: Pair = UNSHIFTED
    pads: bool = True

    @property
    def is_global(self) -> bool:
        """Whether each token attends to the whole grid, however large that is."""
        return self.size is None and self.count == (1, 1)

    @property
    def is_shifted(self) -> bool:
        """Whether windows are shifted."""
        return self.shift != UNSHIFTED

    @property
    def words(self) -> str:
        """In words: "global", "window 7x7", "7x7 shift 3", "4x4 windows"."""
        if self.is_global:
            return "global"
        if self.size is None:
            return f"{format_size(self.count)} windows{self._shift_in_words}"
        if not self.is_shifted:
            return f"window {format_size(self.size)}"
        return f"{format_size(self.size)}{self._shift_in_words}"

    @property
    def _shift_in_words(self) -> str:
        down, right = self.shift
        return self.is_shifted * f" shift {down if down == right else format_size(self.shift)}"

    def divides(self, grid: Pair) -> bool:
        """Whether a grid can be cut so; windows of a size cover any."""
        return self.size is not None or not any(
            whole % count for whole, count in zip(grid, self.count, strict=True)
        )

    def reported_over(self, grid: Pair) -> Pair:
        """The window as reports write it: of a global layer `NO_WINDOW`."""
        return NO_WINDOW if self.is_global else self.over(grid).size

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a stage that say it, except for the shift."""
        count = None if self.is_global or self.size is not None else self.count
        return {"window_size": self.size or NO_WINDOW, "num_windows_side": count}

    @property
    def setting(self) -> str:
        """The one key of a stage that says it, as `--set` takes it: "window_size=14x14"."""
        key, value = next((key, value) for key, value in reversed(self.keys.items()) if value is not None)
        return f"{key}={format_size(value)}"

    def shifted(self, shift: Pair) -> Placement:
        """With its windows shifted; without windows there is nothing to shift."""
        return self if self.is_global else replace(self, shift=shift)

    def over(self, grid: Pair) -> Windows:
        """The windows over a grid."""
        return Windows(*(self._along(axis, whole) for axis, whole in enumerate(grid)))

    def _along(self, axis: int, whole: int) -> Along:
        if self.size is None:
            return Along(whole // self.count[axis], self.count[axis], 0)
        side = self.size[axis]
        return Along(side, -(-whole // side), 0) if self.pads else Along(side, *divmod(whole, side))


EVERYWHERE = Placement()
"""A global layer."""


def said_by(window_size: Pair, num_windows_side: Pair | None = None, *, pads: bool = True) -> Placement:
    """The placement that the keys of a stage say."""
    if num_windows_side is not None:
        return Placement(count=num_windows_side)
    return EVERYWHERE if window_size == NO_WINDOW else Placement(window_size, pads=pads)
