"""The answer of `samattn explain`: where a figure comes from."""

from __future__ import annotations

from typing import Literal

from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown


@dataclass(frozen=True)
class SymbolValue:
    """A symbol of a formula: what it stands for, and its value here."""

    name: str
    meaning: str
    value: int


@dataclass(frozen=True)
class FormulaRow:
    """A term of a figure: an operation of a layer, or of an encoder the parts and layers that share a formula.

    Attributes:
        name: the operation; the first of the layers.
        names: all that have the formula.
        formula: Python's notation, with ``ceil`` and ``floor`` of exact quotients and ``max``; "" where the number is
            that of this size, and no formula gives it at others.
        value: the formula's number, of one of them.
        symbols: those of the formula.
    """

    name: str
    names: tuple[str, ...]
    formula: str
    value: int
    symbols: tuple[SymbolValue, ...]


@dataclass(frozen=True)
class ToolFigure:
    """The figure of another tool for the same thing, by its own convention; None, with a reason, if it has none."""

    tool: str
    version: str
    quantity: str
    value: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Explanation(Shown):
    """A figure of an encoder, a part, a layer or an operation.

    Attributes:
        config: the encoder.
        where: "blocks.7", "blocks.7.attn.scores"; "" for the encoder.
        metric: the key of the figure in an analysis.
        what: the metric in words.
        combined: how the rows make the value: they are added, or the largest is taken.
        formula: of the whole; "" for an encoder, whose rows have symbols of their own, and where the number is that of
            this size alone.
        not_at: sizes at which other operations run, so that the formula does not give the whole there.
        value: of the whole.
        symbols: those of the formula.
        rows: what it is made of.
        definition: what is counted.
        left_out: what is not.
        others: what other tools say.
        kernels: the kernels that torch runs for fused attention in it, by compute capability, and why.
    """

    config: EncoderConfig
    where: str
    metric: str
    what: str
    combined: Literal["sum", "max"]
    formula: str
    value: int
    symbols: tuple[SymbolValue, ...]
    rows: tuple[FormulaRow, ...]
    definition: str
    left_out: tuple[str, ...]
    others: tuple[ToolFigure, ...] = ()
    not_at: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    kind: Literal["explanation"] = "explanation"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__
