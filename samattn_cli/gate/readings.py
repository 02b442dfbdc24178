"""The figures of an encoder by the names of metrics. Only the figures that a rule needs are worked out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig
from ..metric_names import COUNT, GLOBAL, KINDS, MEASURED, WINDOW, path_of
from ..records import dataclass
from ..reports.analysis import Analysis
from ..studies.layers import LAYER, PART, At, segments_of
from ..studies.passes import Passes
from ..studies.readers import COMPARED, COUNTED, FIGURES
from ..studies.rel_pos import POSITIONS
from .lookup import Keyed, MetricError, Reading, deferred, known_number, walk
from .recordings import Recordings

if TYPE_CHECKING:
    from ..device.model import Device


MOST_HELD = 8
"""Encoders whose passes are held."""


def is_counted(layer: LayerConfig, kind: str) -> bool:
    """Whether a layer counts as one of a kind. A window that covers the grid counts as global."""
    if kind == WINDOW:
        return layer.is_windowed and not layer.spans_grid
    return layer.spans_grid if kind == GLOBAL else layer.placement.kind == kind


def is_of_kind(layer: LayerConfig, kind: str) -> bool:
    """Whether rules on a kind of layer apply to a layer.

    Both kinds of rules apply to a window that covers the grid. Writing a layer differently must not evade a limit on the
    cost of global layers, or on the least that windows save.
    """
    return layer.spans_grid if kind == GLOBAL else layer.placement.kind == kind


def is_count(metric: str) -> bool:
    """Whether a figure, of the encoder or of a layer, adds up over the operations of a forward."""
    root, *_, key = path_of(metric).split(".")
    return root in {"totals", "layers", "parts"} and key in COUNTED | {COUNT}


class Held:
    """The encoders whose passes are held: the latest few, so that a check of many configs takes no more memory."""

    def __init__(self) -> None:
        self.latest: deque[Encoder] = deque()

    def add(self, encoder: Encoder) -> None:
        """Hold the passes of an encoder, and drop those of the earliest one."""
        self.latest.append(encoder)
        if len(self.latest) > MOST_HELD:
            self.latest.popleft().drop()


@dataclass(frozen=True)
class Encoder:
    """An encoder as a profile runs it, on a device if the profile has one, and the recordings with measured figures.

    Its passes are made again if they were dropped; see `Held`. If `is_counted`, most figures are read without: see `Passes`.
    """

    config: EncoderConfig
    device: Device | None = None
    recordings: Recordings | None = None
    held: Held = field(default_factory=Held)
    known: dict[str, tuple[Reading, ...]] = field(default_factory=dict)
    is_counted: bool = False

    @cached_property
    def passes(self) -> Passes:
        """Its passes."""
        self.held.add(self)
        return Passes(self.config, self.device, is_counted=self.is_counted)

    def drop(self) -> None:
        """Drop the passes, what was made of them, and the plan of the config; the figures stay known."""
        for name in ("passes", "analysis", "_layers", "_parts"):
            vars(self).pop(name, None)
        for name in ("plan", "stretches", "layers"):
            vars(self.config).pop(name, None)

    @cached_property
    def analysis(self) -> Analysis:
        """The report of `samattn analyze`."""
        from ..studies.analyze import analyze

        return analyze(self.config, device=self.device, verify=False)

    def readings(self, metric: str) -> tuple[Reading, ...]:
        """A figure: one reading, or one for each layer of a kind, or one for each recording.

        Raises:
            MetricError: if there is no such figure, or it is not a finite number.
        """
        if metric not in self.known:
            self.known[metric] = self._readings(metric)
        return self.known[metric]

    def _readings(self, metric: str) -> tuple[Reading, ...]:
        root, *keys = path_of(metric, training=self.config.run.mode == "training").split(".")
        if root == MEASURED:
            return self._measured(keys[0])
        if root == "layers" and keys[0] in KINDS:
            return tuple(self._of_kind(metric, keys[0], keys[1:]))
        return (Reading(known_number(metric, walk(self._root, [root, *keys], metric))),)

    def _measured(self, key: str) -> tuple[Reading, ...]:
        if self.recordings is None:
            raise MetricError("not-recorded", "this command does not read recordings")
        return tuple(self.recordings.readings(self.config, self.device, key))

    def _of_kind(self, metric: str, kind: str, keys: Sequence[str]) -> Iterator[Reading]:
        """The figures of all layers of a kind, each different figure once."""
        if list(keys) == [COUNT]:
            yield Reading(sum(is_counted(at.layer, kind) for at in self._layers.values()))
            return
        ats = [at for at in self._layers.values() if is_of_kind(at.layer, kind)]
        if not ats:
            raise MetricError("no-such-layer", f"no layer is {'windowed' if kind == 'window' else kind}")
        names: dict[float, list[str]] = {}
        for at in ats:
            value = known_number(metric, walk(self._layer(at), keys, metric))
            names.setdefault(value, []).append(at.name)
        for value, (first, *others) in names.items():
            yield Reading(value, f"{first} and {len(others)} alike" if others else first)

    @cached_property
    def _layers(self) -> dict[str, At]:
        """The blocks by their index."""
        blocks = (at for at in segments_of(self.passes).values() if at.block is not None)
        return {str(at.layer.index): at for at in blocks}

    @cached_property
    def _parts(self) -> dict[str, At]:
        """The parts next to the blocks, by name."""
        return {name: at for name, at in segments_of(self.passes).items() if at.block is None}

    def _layer(self, at: At) -> Keyed:
        return Keyed(deferred(LAYER | POSITIONS, at), lambda: self.analysis.layers[at.layer.index])

    @property
    def _root(self) -> Keyed:
        """An analysis whose figures are worked out when they are needed."""
        known = {
            "totals": lambda: Keyed(deferred(FIGURES, self.passes), lambda: self.analysis.totals),
            "layers": lambda: Keyed(self._each(self._layer, self._layers), lambda: self.analysis.layers),
            "parts": lambda: Keyed(self._each(self._part, self._parts), lambda: self.analysis.parts),
            "comparison": lambda: Keyed(self._comparisons, lambda: self.analysis.comparison),
        }
        return Keyed(known, lambda: self.analysis)

    @staticmethod
    def _each(keyed: Callable[[At], Keyed], ats: Mapping[str, At]) -> dict[str, Callable[[], Any]]:
        return {name: partial(keyed, at) for name, at in ats.items()}

    def _part(self, at: At) -> Keyed:
        name = at.name
        return Keyed(
            deferred(PART, at), lambda: next(part for part in self.analysis.parts if part.name == name)
        )

    @property
    def _comparisons(self) -> dict[str, Callable[[], Any]]:
        def against(name: str, other: Passes | None) -> Keyed | None:
            if other is None:
                return None
            compared = {key: partial(figure, self.passes, other) for key, figure in COMPARED.items()}
            return Keyed(deferred(FIGURES, other) | compared, lambda: getattr(self.analysis.comparison, name))

        return {
            "vs_all_global": lambda: against("vs_all_global", self.passes.all_global),
            "vs_all_window": lambda: against("vs_all_window", self.passes.all_windowed),
        }
