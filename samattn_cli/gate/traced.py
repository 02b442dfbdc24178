"""Modules that are traced in place of configs: their figures by the names of metrics, and what contributes to these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from ..figures import FIGURES
from ..metric_names import COUNT, KINDS, MEASURED, path_of
from ..records import dataclass, replace
from ..reports.traced import TracedAnalysis, TracedLayer, TracedPart
from ..shell import command, line
from ..studies.causes import figure_behind
from ..units import format_amount
from .lookup import MetricError, Reading, known_number, walk

if TYPE_CHECKING:
    from ..device.model import Device
    from ..studies.traced.ask import Asked

UNKNOWN = ("comparison", "changes", "published", "config", MEASURED)
"""What the analysis of a config has, and that of a module has not."""
STEP = "training"
MOST = 3


@dataclass(frozen=True)
class TracedEncoder:
    """A module as a profile runs it, on a device if the profile has one; `device_name` is the profile's word for it."""

    asked: Asked
    device: Device | None
    device_name: str = ""
    analyses: dict[str, TracedAnalysis] = field(default_factory=dict, compare=False)

    def analysis(self, mode: str) -> TracedAnalysis:
        """The report of `samattn trace` in a mode.

        Raises:
            SamattnError: if it cannot be traced.
        """
        if mode not in self.analyses:
            from ..studies.traced.report import traced

            self.analyses[mode] = traced(replace(self.asked, mode=mode), self.device)
        return self.analyses[mode]

    @property
    def trains(self) -> bool:
        """Whether it runs a training step."""
        return self.asked.mode == STEP

    def readings(self, metric: str) -> tuple[Reading, ...]:
        """A figure: one reading, or one for each layer of a kind.

        Raises:
            MetricError: if there is no such figure, or it is not a finite number.
        """
        path = path_of(metric, training=self.trains)
        root, *keys = path.split(".")
        if root in UNKNOWN or any("vs_global" in key for key in keys):
            text = f"{metric} is known for configs of samattn, and not for a module that is traced"
            raise MetricError("not-of-traced", text)
        analysis = self._analysis_with(path)
        if root == "layers" and keys[0] in KINDS:
            return tuple(_of_kind(analysis, metric, keys[0], keys[1:]))
        return (Reading(known_number(metric, walk(analysis, [root, *keys], metric))),)

    def _analysis_with(self, path: str) -> TracedAnalysis:
        """The analysis that has a figure: that of a training step, if the figure is of a step alone."""
        root, last = path.partition(".")[0], path.rpartition(".")[2]
        return self.analysis(STEP if STEP in {root, last.partition("_")[0]} else self.asked.mode)

    def contributions(self, metric: str) -> tuple[str, ...]:
        """The layers and parts that contribute to a figure of the whole, a line each, the largest first."""
        path = path_of(metric, training=self.trains)
        figure = figure_behind(path)
        if not figure or not path.startswith("totals."):
            return ()
        analysis = self._analysis_with(path)
        at = getattr(analysis.totals, f"{figure.removesuffix('_bytes')}_at", "")
        peak = (f"{figure} at {at}",) if at else ()
        return (*peak, *_most(analysis, FIGURES[figure].seen_in or figure))

    @property
    def command(self) -> str:
        """The command that shows more."""
        asked = self.asked
        arguments = (f"{name}={_plain(value)}" for name, value in asked.arguments.items())
        named = {
            "--submodule": asked.submodule,
            "--dtype": asked.dtype,
            "--mode": STEP if self.trains else "",
            "--optimizer": asked.optimizer if self.trains else "",
            "--device": self.device_name,
        }
        words = [
            *(word for text in asked.inputs for word in ("--input", text)),
            *(word for text in arguments for word in ("--arg", text)),
            *(word for option, value in named.items() if value for word in (option, value)),
        ]
        here = Path(asked.folder) == Path()
        return ("" if here else f"cd {line(asked.folder)} && ") + command("trace", asked.target, *words)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _of_kind(analysis: TracedAnalysis, metric: str, kind: str, keys: Sequence[str]) -> Iterator[Reading]:
    """The figures of all layers of a kind, each different figure once."""
    layers = [layer for layer in analysis.layers if layer.attention == kind]
    if list(keys) == [COUNT]:
        yield Reading(len(layers))
        return
    if not layers:
        raise MetricError("no-such-layer", f"no layer is {'windowed' if kind == 'window' else kind}")
    names: dict[float, list[str]] = {}
    for layer in layers:
        names.setdefault(known_number(metric, walk(layer, keys, metric)), []).append(layer.name)
    for value, (first, *others) in names.items():
        yield Reading(value, f"{first} and {len(others)} alike" if others else first)


def _most(analysis: TracedAnalysis, figure: str) -> Iterator[str]:
    groups: dict[float, list[TracedPart]] = {}
    for place in (*analysis.layers, *analysis.parts):
        if value := getattr(place, figure, None):
            groups.setdefault(value, []).append(place)
    adds_up = FIGURES[figure].combined == "sum"
    worst = sorted(groups.items(), key=lambda group: -group[0] * len(group[1]) ** adds_up)
    for value, places in worst[:MOST]:
        amount = format_amount(value, FIGURES[figure].unit)
        yield f"{_names(places)}: {amount}{' each' if len(places) > 1 else ''}{_attends(places)}"


def _names(places: Sequence[TracedPart]) -> str:
    names = [place.name for place in places]
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def _attends(places: Sequence[TracedPart]) -> str:
    kinds = {place.placement for place in places if isinstance(place, TracedLayer) and place.placement}
    return f" ({kinds.pop()})" if len(kinds) == 1 else ""
