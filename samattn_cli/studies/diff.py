"""What changed from one encoder to another: keys, figures, and the layers whose cost changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import Field, fields, is_dataclass, replace
from itertools import zip_longest
from typing import Any

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig
from ..encoder.presets import presets
from ..figures import names as names_of
from ..figures import of
from ..files.load import Loaded
from ..reports.diff import CHANGED, Diff, FigureChange, KeyChange, LayerChange, PeakChange, Place
from .causes import causes
from .layers import LAYER, PART, At, segments_of
from .likeness import Piece, pairs
from .passes import Passes
from .places import place_of
from .readers import FIGURES, PEAK_AT

OF_LAYERS = names_of(figure for figure in of("layer") if figure.combined == "sum")
"""The figures of a layer that are its own."""
NOT_OF_COST = ("name", "description")
FLAT = "stages.0."

PlaceOf = Callable[[str], Place | None]
"""Where a key stands."""


def nowhere(key: str) -> None:
    """The places of a config that is no file."""


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
        names: what to call them; by default their own.
        place: where a key of the later one stands (see `places_in`).
        metric: the figure whose change the causes explain, as thresholds call it.
        figures: those to compare; of others nothing is worked out.
    """
    first, second = names or (before.config.name, after.config.name)
    found = Diff(
        before=first,
        after=second,
        before_config=before.config,
        after_config=after.config,
        keys=tuple(key_changes(before.config, after.config, place)),
        totals=tuple(_totals(before, after, figures)),
        peaks=tuple(
            PeakChange(name, at(before), at(after)) for name, at in PEAK_AT.items() if name in figures
        ),
        layers=tuple(_grouped(_layers(before, after, figures))),
        metric=metric,
    )
    return replace(found, causes=causes(found, metric))


def places_in(loaded: Loaded) -> PlaceOf:
    """Where the keys of a loaded config stand: in it, or in one that it extends.

    The file alone for a key that it does not have (any more), or has from a preset; nowhere for what an option gives.
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
    """The keys that changed, as people write them: those of a single stage stand at the top level."""
    single = len(before.stages) == len(after.stages) == 1
    for key, was, now in _changes("", before, after):
        if key not in NOT_OF_COST:
            said = key.removeprefix(FLAT) if single else key
            yield KeyChange(said, was, now, place(said))


def _changes(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each key under `key` whose value changed, with both as plain data."""
    if before == after:
        return
    if is_dataclass(before) and is_dataclass(after):
        for entry in fields(before):
            dotted = f"{key}.{entry.name}" if key else entry.name
            was, now = (_written(entry, getattr(config, entry.name)) for config in (before, after))
            yield from _changes(dotted, was, now)
    elif isinstance(before, tuple) and any(map(is_dataclass, (*before, *after))):
        for number, (was, now) in enumerate(zip_longest(before, after)):
            yield from _changes(f"{key}.{number}", was, now)
    else:
        yield key, _plain(before), _plain(after)


def _written(entry: Field[Any], value: Any) -> Any:
    """What a key holds as people write it: a size as 14, or [14, 28]."""
    is_square = "Pair" in str(entry.type) and value is not None and value[0] == value[1]
    return value[0] if is_square else value


def _plain(value: Any) -> Any:
    """Without classes; of a config class what it does not leave at its default."""
    if is_dataclass(value):
        given = ((entry, getattr(value, entry.name)) for entry in fields(value))
        return {entry.name: _plain(_written(entry, held)) for entry, held in given if held != entry.default}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _totals(before: Passes, after: Passes, figures: Collection[str]) -> Iterator[FigureChange]:
    for name, figure in FIGURES.items():
        if name not in figures:
            continue
        was, now = figure(before), figure(after)
        if was is not None or now is not None:
            yield FigureChange(name, was, now)


def _layers(before: Passes, after: Passes, names: Collection[str]) -> Iterator[LayerChange]:
    """Each part and layer that changed, in the order in which they run."""
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
    figure = (PART if at.segment.layer is None else LAYER).get(name)
    value: float | None = figure and figure(at)
    return value


def _grouped(changes: Iterator[LayerChange]) -> Iterator[LayerChange]:
    """Those that changed alike as one, where the first of them stands."""
    groups: dict[Any, list[LayerChange]] = {}
    for change in changes:
        alike = (change.change, change.attention, change.figures, not change.indexes and change.names)
        groups.setdefault(alike, []).append(change)
    for group in groups.values():
        names = tuple(change.names[0] for change in group)
        former = tuple((change.former or change.names)[0] for change in group)
        yield replace(group[0], names=names, former=former if any(change.former for change in group) else ())
