"""The differences between two encoders: keys, figures, and the layers whose cost changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import Field, fields, is_dataclass
from itertools import zip_longest
from typing import Any

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig
from ..encoder.presets import presets
from ..figures import KINDS_AT_PEAK, of
from ..figures import names as names_of
from ..files.load import Loaded
from ..records import replace
from ..reports.diff import CHANGED, Diff, FigureChange, KeyChange, LayerChange, PeakChange, Place
from ..units import is_square
from .causes import causes
from .layer_pairs import Piece, pairs
from .layers import LAYER, PART, At, segments_of
from .passes import Passes
from .places import place_of
from .readers import FIGURES, PEAK_AT

OF_LAYERS = names_of(figure for figure in of("layer") if figure.combined == "sum")
"""The figures of a layer that add up over layers."""
OFTEN_ABSENT = frozenset({*KINDS_AT_PEAK.values(), "communication_bytes"})
"""Figures that most encoders have none of, so that nothing of two is not worth a row."""
NOT_OF_COST = ("name", "description")
FLAT = "stages.0."

PlaceOf = Callable[[str], Place | None]
"""A function from a key to its place in a file."""


def nowhere(key: str) -> None:
    """The place of a key of a config that is not from a file: none."""


def diff(
    before: Passes,
    after: Passes,
    *,
    names: tuple[str, str] | None = None,
    place: PlaceOf = nowhere,
    metric: str = "flops",
    figures: Collection[str] = (*FIGURES, *OF_LAYERS),
) -> Diff:
    """Compare two encoders.

    Args:
        before: the earlier one, and the device for times, if any.
        after: the later one.
        names: their names in the report; by default their own.
        place: the place of a key of the later one (see `places_in`).
        metric: the figure whose change the causes explain, as thresholds name it.
        figures: the figures to compare; others are not computed.
    """
    first, second = names or (before.config.name, after.config.name)
    report = Diff(
        before=first,
        after=second,
        before_config=before.config,
        after_config=after.config,
        keys=tuple(key_changes(before.config, after.config, place)),
        totals=tuple(_totals(before, after, figures)),
        peaks=tuple(_peaks(before, after, figures)),
        layers=tuple(_grouped(_layers(before, after, figures))),
        metric=metric,
    )
    return replace(report, causes=causes(report, metric))


def _peaks(before: Passes, after: Passes, figures: Collection[str]) -> Iterator[PeakChange]:
    for name, peak_at in PEAK_AT.items():
        if name in figures:
            was, now = peak_at(before), peak_at(after)
            if was is not None and now is not None:
                yield PeakChange(name, was, now)


def places_in(loaded: Loaded) -> PlaceOf:
    """A function to find the place of a key of a loaded config: in its file, or in one that it extends.

    A key that is not in these files (it was removed, or comes from a preset) has only the file as its place. A key that
    is set by an option has none.
    """
    shipped = set(map(str, presets().values()))

    def place(key: str) -> Place | None:
        where = loaded.where(key)
        if where is not None and where.line is None:
            return None
        if where is None or where.source in shipped:
            return None if loaded.label in shipped else Place(loaded.label)
        return place_of(where)

    return place


def key_changes(before: EncoderConfig, after: EncoderConfig, place: PlaceOf = nowhere) -> Iterator[KeyChange]:
    """The keys that changed, as users write them: the keys of a single stage are at the top level."""
    single = len(before.stages) == len(after.stages) == 1
    for key, was, now in _changes("", before, after):
        if key not in NOT_OF_COST:
            written = key.removeprefix(FLAT) if single else key
            yield KeyChange(written, was, now, place(written))


def _changes(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each key under `key` whose value changed, with both values as plain data."""
    if before == after:
        return
    if is_dataclass(before) and is_dataclass(after):
        for entry in fields(before):
            dotted = f"{key}.{entry.name}" if key else entry.name
            was, now = (_written(entry, getattr(config, entry.name)) for config in (before, after))
            yield from _changes(dotted, was, now)
    elif isinstance(before, tuple) and isinstance(after, tuple) and any(map(is_dataclass, (*before, *after))):
        for number, (was, now) in enumerate(zip_longest(before, after)):
            yield from _changes(f"{key}.{number}", was, now)
    else:
        yield key, _plain(before), _plain(after)


def _written(entry: Field[Any], value: Any) -> Any:
    """The value of a key as users write it: a size as 14, or [14, 28]."""
    return value[0] if "Size" in str(entry.type) and value is not None and is_square(value) else value


def _plain(value: Any) -> Any:
    """A value as plain data; of a config class only the keys that differ from their defaults."""
    if is_dataclass(value):
        entries = ((entry, getattr(value, entry.name)) for entry in fields(value))
        return {entry.name: _plain(_written(entry, own)) for entry, own in entries if own != entry.default}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _totals(before: Passes, after: Passes, figures: Collection[str]) -> Iterator[FigureChange]:
    for name, figure in FIGURES.items():
        if name not in figures:
            continue
        was, now = figure(before), figure(after)
        is_absent = name in OFTEN_ABSENT and not was and not now
        if (was is not None or now is not None) and not is_absent:
            yield FigureChange(name, was, now)


def _layers(before: Passes, after: Passes, names: Collection[str]) -> Iterator[LayerChange]:
    """Each part and layer that changed, in the order in which it runs."""
    earlier, later = segments_of(before), segments_of(after)
    for was, now in pairs(before.config.plan, after.config.plan):
        old, new = (earlier[was.name] if was else None), (later[now.name] if now else None)
        figures = tuple(_figures(old, new, names))
        if figures:
            first, *others = (piece for piece in (now, was) if piece is not None)
            yield LayerChange(
                names=(first.name,),
                change="added" if was is None else "removed" if now is None else "changed",
                attention=CHANGED.join(dict.fromkeys(_attends(was) + _attends(now))),
                figures=figures,
                former=tuple(other.name for other in others if other.name != first.name),
            )


def _attends(piece: Piece | None) -> list[str]:
    return [piece.attends] if isinstance(piece, LayerConfig) else []


def _figures(before: At | None, after: At | None, names: Collection[str]) -> Iterator[FigureChange]:
    for name in (name for name in OF_LAYERS if name in names):
        was, now = _figure(name, before), _figure(name, after)
        if (was or 0) != (now or 0):
            yield FigureChange(name, was, now)


def _figure(name: str, at: At | None) -> float | None:
    if at is None:
        return None
    figure = (PART if at.block is None else LAYER).get(name)
    value: float | None = figure and figure(at)
    return value


def _grouped(changes: Iterator[LayerChange]) -> Iterator[LayerChange]:
    """Layers with the same change as one entry, at the position of the first."""
    groups: dict[Any, list[LayerChange]] = {}
    for change in changes:
        same = (change.change, change.attention, change.figures, not change.indexes and change.names)
        groups.setdefault(same, []).append(change)
    for group in groups.values():
        names = tuple(change.names[0] for change in group)
        former = tuple((change.former or change.names)[0] for change in group)
        yield replace(group[0], names=names, former=former if any(change.former for change in group) else ())
