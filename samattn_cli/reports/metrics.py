"""The answer of `samattn metrics`: all figures, and where each can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown


@dataclass(frozen=True, kw_only=True)
class MetricReport:
    """A figure, or a comparison by a figure with the same encoder with every layer global.

    Attributes:
        name: its key in JSON.
        aliases: other names that every command takes.
        unit: B, FLOP, MAC, params or ms; "" of ratios and shares.
        word: what reports and charts call it.
        meaning: what is counted.
        left_out: what is not counted.
        better: whether less or more of it is better.
        of: what has it: op, layer, part, encoder; () of comparisons.
        combined: how the figures of layers and parts make that of the encoder; "" of comparisons.
        by_mode: whether it is of the run's mode, so that in training it is of a whole step.
        needs: "device" or "cuda" if it cannot be worked out without a device, or without a CUDA device.
        used_in: the commands and options that take its name.
    """

    name: str
    aliases: tuple[str, ...]
    unit: str
    word: str
    meaning: str
    left_out: tuple[str, ...]
    better: Literal["less", "more"]
    of: tuple[str, ...]
    combined: Literal["sum", "max", ""]
    by_mode: bool
    needs: Literal["", "device", "cuda"]
    used_in: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Metrics(Shown):
    """All figures, or the one that was asked for."""

    metrics: tuple[MetricReport, ...]
    kind: Literal["metrics"] = "metrics"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__
