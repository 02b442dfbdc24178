"""Numbers of an analysis by name or path, each worked out when it is asked for and no more than that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ...config.metric_names import COUNT, KINDS, MEASURED, path_of
from ...config.model import EncoderConfig
from ...cost.ops import Parameter, parameter_elements
from ...cost.shares import REL_POS, share_of
from ...errors import SamattnError, did_you_mean
from ...reports.analysis import Analysis
from ..layers import LAYER, PART, At, segments_of
from ..passes import COMPARED, FIGURES, Passes

if TYPE_CHECKING:
    from ...config.device import Device
    from ...reports.recording import Fingerprint
    from .measured import Recordings

NAMES = ("name", "part", "change", "code")
"""The fields by which the items of an analysis' lists are called."""

MOST_NAMES = 30
"""That a message lists."""


class MetricError(SamattnError):
    """An encoder has no such figure, or none that can be compared."""


@dataclass(frozen=True)
class Reading:
    """A figure.

    Attributes:
        value: as the analysis has it.
        at: the layer that it is of, where there are several of a kind.
        made_by: what measured it, if it was measured.
    """

    value: float
    at: str = ""
    made_by: Fingerprint | None = None


@dataclass(frozen=True)
class Keyed:
    """Keys, each of which is worked out when it is asked for; those that are not known are keys of `rest`."""

    known: Mapping[str, Callable[[], Any]]
    rest: Callable[[], Any]


@dataclass(frozen=True)
class Encoder:
    """An encoder as a profile runs it, on a device if it has one, and the recordings that may be of it."""

    config: EncoderConfig
    device: Device | None = None
    recordings: Recordings | None = None

    @cached_property
    def passes(self) -> Passes:
        """Its passes."""
        return Passes(self.config, self.device)

    @cached_property
    def analysis(self) -> Analysis:
        """All that `samattn analyze` says of it."""
        from ..analyze import analyze

        return analyze(self.config, device=self.device, verify=False)

    def readings(self, metric: str) -> tuple[Reading, ...]:
        """A figure; of a kind of layer that of each such layer; of what was measured that of each recording.

        Raises:
            MetricError: if there is none, or it is no finite number.
        """
        root, *keys = path_of(metric, training=self.passes.trains).split(".")
        if root == MEASURED:
            return self._measured(keys[0])
        if root == "layers" and keys[0] in KINDS:
            return tuple(self._of_kind(metric, keys[0], keys[1:]))
        return (Reading(_number(metric, _walk(self._root, [root, *keys], metric))),)

    def _measured(self, key: str) -> tuple[Reading, ...]:
        if self.recordings is None:
            raise MetricError("no recordings were given")
        return tuple(self.recordings.readings(self.config, self.device, key))

    def _of_kind(self, metric: str, kind: str, keys: Sequence[str]) -> Iterator[Reading]:
        """Of each layer of a kind, those of one figure once."""
        ats = [at for at in self._layers.values() if LAYER["attention"](at) == kind]
        if list(keys) == [COUNT]:
            yield Reading(len(ats))
            return
        if not ats:
            raise MetricError(f"no layer is {'windowed' if kind == 'window' else kind}")
        names: dict[float, list[str]] = {}
        for at in ats:
            value = _number(metric, _walk(self._layer(at), keys, metric))
            names.setdefault(value, []).append(at.segment.name)
        for value, (first, *others) in names.items():
            yield Reading(value, f"{first} and {len(others)} alike" if others else first)

    @cached_property
    def _layers(self) -> dict[str, At]:
        """The blocks by their index."""
        blocks = (at for at in segments_of(self.passes).values() if at.segment.layer is not None)
        return {str(at.layer.index): at for at in blocks}

    @cached_property
    def _parts(self) -> dict[str, At]:
        """What stands beside them by name."""
        return {name: at for name, at in segments_of(self.passes).items() if at.segment.layer is None}

    def _layer(self, at: At) -> Keyed:
        return Keyed(_bound(LAYER | POSITIONS, at), lambda: self.analysis.layers[at.layer.index])

    @property
    def _root(self) -> Keyed:
        """An analysis whose figures are worked out as they are asked for."""
        known = {
            "totals": lambda: Keyed(_bound(FIGURES, self.passes), lambda: self.analysis.totals),
            "layers": lambda: Keyed(self._each(self._layer, self._layers), lambda: self.analysis.layers),
            "parts": lambda: Keyed(self._each(self._part, self._parts), lambda: self.analysis.parts),
            "comparison": lambda: Keyed(self._comparisons, lambda: self.analysis.comparison),
        }
        return Keyed(known, lambda: self.analysis)

    @staticmethod
    def _each(laid: Callable[[At], Keyed], ats: Mapping[str, At]) -> dict[str, Callable[[], Any]]:
        return {name: partial(laid, at) for name, at in ats.items()}

    def _part(self, at: At) -> Keyed:
        name = at.segment.name
        return Keyed(
            _bound(PART, at), lambda: next(part for part in self.analysis.parts if part.name == name)
        )

    @property
    def _comparisons(self) -> dict[str, Callable[[], Any]]:
        def against(name: str, other: Passes | None) -> Keyed | None:
            if other is None:
                return None
            compared = {key: partial(figure, self.passes, other) for key, figure in COMPARED.items()}
            return Keyed(_bound(FIGURES, other) | compared, lambda: getattr(self.analysis.comparison, name))

        return {
            "vs_all_global": lambda: against("vs_all_global", self.passes.all_global),
            "vs_all_window": lambda: against("vs_all_window", self.passes.all_windowed),
        }


def _tables(at: At) -> tuple[Parameter, ...]:
    """A layer's relative positions: (2h-1, d) and (2w-1, d), or jointly (2h-1, 2w-1, d); () without."""
    if at.layer.stage.rel_pos == "none":
        return ()
    return tuple(
        parameter for op in at.segment.recording.ops if share_of(op) == REL_POS for parameter in op.parameters
    )


def _per_channel(at: At) -> int | None:
    """Entries of a layer's tables for each channel of a head."""
    return sum(parameter_elements(table) // table.shape[-1] for table in _tables(at)) or None


def _saved_by_decomposing(at: At) -> float | None:
    """What the tables save against the joint one of the same layer, as a share of it."""
    own, joint = _per_channel(at), _per_channel(At(_joint(at.passes), at.number))
    return None if own is None or joint is None else 1 - own / joint


def _joint(passes: Passes) -> Passes:
    """Of the same encoder with joint relative positions."""
    stages = tuple(
        stage if stage.rel_pos == "none" else replace(stage, rel_pos="joint")
        for stage in passes.config.stages
    )
    return Passes(replace(passes.config, stages=stages))


POSITIONS: dict[str, Callable[[At], Any]] = {
    "rel_pos_params": lambda at: sum(map(parameter_elements, _tables(at))) or None,
    "rel_pos_params_per_channel": _per_channel,
    "rel_pos_params_saving": _saved_by_decomposing,
}
"""Of a layer's relative positions, as SAM has them; None without."""


def _bound(table: Mapping[str, Callable[[Any], Any]], of: Any) -> dict[str, Callable[[], Any]]:
    return {name: partial(figure, of) for name, figure in table.items()}


def _walk(held: Any, keys: Sequence[str], metric: str) -> Any:
    """What the keys lead to.

    Raises:
        MetricError: if they lead nowhere.
    """
    if not keys:
        return held
    if isinstance(held, Keyed):
        for length in range(len(keys), 0, -1):
            if (name := ".".join(keys[:length])) in held.known:
                return _walk(held.known[name](), keys[length:], metric)
        return _walk(held.rest(), keys, metric)
    entries = _entries(held)
    for length in range(len(keys), 0, -1):
        if (name := ".".join(keys[:length])) in entries:
            return _walk(entries[name], keys[length:], metric)
    raise MetricError(f"there is no metric {metric!r}: {_missing(keys[0], list(entries), held)}")


def _entries(held: Any) -> dict[str, Any]:
    """The keys of a record; the indexes and names of a list's items."""
    if is_dataclass(held):
        return {field.name: getattr(held, field.name) for field in fields(held)}
    if not isinstance(held, tuple):
        return {}
    names = {getattr(item, name): item for item in held for name in NAMES if hasattr(item, name)}
    return names | {str(index): item for index, item in enumerate(held)}


def _missing(key: str, known: Sequence[str], held: Any) -> str:
    if held is None:
        return "what it is of is null"
    if not known:
        return f"nothing is called {key!r} here"
    if hint := did_you_mean(key, known):
        return f"nothing is called {key!r} here{hint}"
    names = [name for name in known if not name.isdecimal()]
    by_index = len(names) != len(known) and (key.isdecimal() or not 0 < len(names) <= MOST_NAMES)
    told = f"0 to {known[-1]}" if by_index else ", ".join(names)
    return f"nothing is called {key!r} here, there is {told}"


def _number(metric: str, value: Any) -> float:
    """The value, if it is one that can be compared.

    Raises:
        MetricError: if it is not.
    """
    if value is None:
        needs = ": it needs a device, of a profile or by --device" if "latency" in metric else ""
        raise MetricError(f"{metric} is not known here{needs}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetricError(f"{metric} is no number")
    if not math.isfinite(value):
        raise MetricError(f"{metric} is {value}, which compares with nothing")
    return value
