"""The answer of `samattn diff`, and the cause that `samattn check` gives: what changed from one encoder to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..config.model import EncoderConfig
from ..version import __version__
from . import SCHEMA_VERSION


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


@dataclass(frozen=True)
class FigureChange:
    """A figure of both encoders, by its name in an analysis; None where one of them has none."""

    metric: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class LayerChange:
    """Layers or parts whose cost changed alike.

    Attributes:
        names: such as "blocks.3"; those of the later encoder, or of the earlier where they are gone.
        change: whether they are in both.
        attention: "window 14x14 -> global" where that changed; else "".
        figures: those that changed.
    """

    names: tuple[str, ...]
    change: Literal["changed", "added", "removed"]
    attention: str
    figures: tuple[FigureChange, ...]


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Two encoders, key by key and layer by layer; `before` and `after` are what they were called."""

    before: str
    after: str
    before_config: EncoderConfig
    after_config: EncoderConfig
    keys: tuple[KeyChange, ...]
    totals: tuple[FigureChange, ...]
    layers: tuple[LayerChange, ...]
    kind: Literal["diff"] = "diff"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__
