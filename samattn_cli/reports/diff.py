"""The answer of `samattn diff`, and the cause that `samattn check` gives: what changed from one encoder to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..encoder.model import EncoderConfig
from ..metric_names import unit_of
from ..records import dataclass
from ..units import format_apart, ranges
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown

BLOCKS = "blocks."
CHANGED = " -> "


@dataclass(frozen=True)
class Place:
    """Where something stands: a file as it was named, and the line and column in it, if known."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class KeyChange:
    """A config key that changed: its values as plain data; None where it is not there. `place` is in the later file."""

    key: str
    before: Any
    after: Any
    place: Place | None = None

    @property
    def text(self) -> str:
        """In words: "window_size: 14 -> 16", "global_attn_indexes: added 3"."""
        if self.key.endswith("_indexes"):
            return f"{self.key}: {'; '.join(_moved(self.before, self.after))}"
        if isinstance(self.before, dict) or isinstance(self.after, dict):
            entries = self.after if self.before is None else self.before
            return f"{self.key}: {'added' if self.before is None else 'removed'} ({_as_yaml(entries)})"
        return f"{self.key}: {_as_yaml(self.before)}{CHANGED}{_as_yaml(self.after)}"


def _moved(before: Sequence[int], after: Sequence[int]) -> list[str]:
    pairs = (("added", set(after) - set(before)), ("removed", set(before) - set(after)))
    return [f"{word} {ranges(sorted(indexes))}" for word, indexes in pairs if indexes]


def _as_yaml(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_yaml(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_yaml, value))}]"
    words = {None: "none", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class FigureChange:
    """A figure of both encoders, by its name in an analysis; None where one of them has none."""

    metric: str
    before: int | float | None
    after: int | float | None

    @property
    def change(self) -> float:
        """By how much; a missing value counts as 0."""
        return (self.after or 0) - (self.before or 0)

    @property
    def text(self) -> str:
        """Both values, the unit once where it is the same: "176.9 -> 248.3 GFLOP"; or the one that is there."""
        there = [value for value in (self.before, self.after) if value is not None]
        shown = format_apart(unit_of(self.metric), *there)
        if len(shown) == 1:
            return shown[0]
        number, _, unit = shown[0].rpartition(" ")
        return f"{number if number and shown[1].endswith(f' {unit}') else shown[0]}{CHANGED}{shown[1]}"


@dataclass(frozen=True)
class PeakChange:
    """The operations at which a peak is set: "peak_bytes", "training_bytes"."""

    metric: str
    before: str
    after: str


@dataclass(frozen=True)
class LayerChange:
    """Layers or parts whose cost changed alike.

    Attributes:
        names: such as "blocks.3"; those of the later encoder, or of the earlier where they are gone.
        change: whether they are in both.
        attention: "window 14x14 -> global" if that changed; else "global"; "" of parts next to the layers.
        figures: those that changed, each of one layer. Peaks are not among them, as all that is live counts in each.
        former: their names in the earlier encoder, if those differ.
    """

    names: tuple[str, ...]
    change: Literal["changed", "added", "removed"]
    attention: str
    figures: tuple[FigureChange, ...]
    former: tuple[str, ...] = ()

    @property
    def indexes(self) -> tuple[int, ...]:
        """Those of the layers; () of parts next to them."""
        return tuple(
            int(name.removeprefix(BLOCKS)) for name in self.names if name.removeprefix(BLOCKS).isdecimal()
        )

    @property
    def name(self) -> str:
        """All names in short: "blocks.0-6, 8", "neck"."""
        return f"{BLOCKS}{ranges(self.indexes)}" if self.indexes else ", ".join(self.names)

    def figure(self, metric: str) -> FigureChange | None:
        """One of its figures, if that changed."""
        return next((figure for figure in self.figures if figure.metric == metric), None)


@dataclass(frozen=True, kw_only=True)
class Diff(Shown):
    """Two encoders, key by key and layer by layer; `before` and `after` are what they were called.

    `totals` are all figures of the encoder, equal ones too. `causes` are of the `metric` that was asked for: the keys
    and layers that changed it, a line each, the worst first.
    """

    before: str
    after: str
    before_config: EncoderConfig
    after_config: EncoderConfig
    keys: tuple[KeyChange, ...]
    totals: tuple[FigureChange, ...]
    peaks: tuple[PeakChange, ...]
    layers: tuple[LayerChange, ...]
    metric: str = ""
    causes: tuple[str, ...] = ()
    kind: Literal["diff"] = "diff"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def costs_differ(self) -> bool:
        """Whether any figure of the encoder or of a layer changed."""
        return bool(self.layers) or any(total.change for total in self.totals)
