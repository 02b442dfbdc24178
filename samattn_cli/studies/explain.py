"""Where a figure comes from: the formula of the same pass on symbols, and the number that it has at this config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..encoder.model import EncoderConfig
from ..errors import UsageError, did_you_mean
from ..figures import FIGURES, Figure
from ..reports.explanation import Explanation, FormulaRow, SymbolValue
from ..tape.encoder import Segment, forward
from ..tape.memory import live_over, walk
from ..tape.ops import Op, Recording
from ..tape.storage import Dim
from ..tape.symbols.formula import Integer, atoms_of
from ..tape.symbols.written import Writer
from ..tape.tools import what_others_say
from .holds import Elsewhere, FiguresOf, elsewhere, holding
from .layers import no_such_place
from .readers import OF_RECORDING, is_of_parts, of_op, of_recordings
from .symbolic import MEANINGS, Symbolic, symbolic
from .tapped import TAPPED

ORDER = ("B", "H", "W", "N", "", *TAPPED, *(name for name in MEANINGS if name not in {"B", "H", "W", "N"}))
WORK = ("macs", "flops")
"""What other tools have figures of."""
WRITER = Writer(ORDER, {("h", "d"): "C"})


def explain(config: EncoderConfig, where: str = "", metric: str = "macs") -> Explanation:
    """Explain a figure.

    Args:
        config: the encoder.
        where: "7", "blocks.7", "neck", or an operation or module in it, such as "7.attn.scores"; "" for all of it.
        metric: a figure that has a formula.

    Raises:
        UsageError: for a place that the encoder does not have, or that has no such figure.
    """
    found = FIGURES[metric]
    if found.by_mode and config.run.mode == "training":
        raise UsageError(
            f"{metric}: the formulas are those of a forward, and the run is a training step: use --set run.mode=inference"
        )
    if not where:
        return _of_encoder(config, metric, found)
    segment, inner = _place(config, where)
    return _of_segment(config, segment, inner, metric, found)


def _of_encoder(config: EncoderConfig, metric: str, found: Figure) -> Explanation:
    """All parts and layers, those together that have one formula and its numbers."""
    rows: dict[tuple[str, tuple[SymbolValue, ...], int], FormulaRow] = {}
    for row in _segment_rows(config, found):
        key = row.formula, row.symbols, row.value
        rows[key] = replace(rows[key], names=(*rows[key].names, row.name)) if key in rows else row
    made = tuple(row for row in rows.values() if row.value)
    values = [row.value if found.combined == "max" else len(row.names) * row.value for row in made]
    value = max(values) if found.combined == "max" else sum(values)
    return _explanation(config, FormulaRow("", (), "", value, ()), metric, made, ("", ""))


def _segment_rows(config: EncoderConfig, found: Figure) -> Iterator[FormulaRow]:
    """The figure of each part and layer; a block like one before is not passed again."""
    rows: dict[Recording, FormulaRow] = {}
    places = elsewhere(config)
    for segment, live in _with_live_bytes(config):
        if segment.layer is None and not is_of_parts(found):
            continue
        if segment.recording not in rows:
            on_symbols = symbolic(config, segment, live_bytes=live if found.combined == "max" else None)
            whole = _whole(on_symbols, config, found)
            row = _row(on_symbols, segment.name, whole)
            held = holding(whole, segment, _figures_of(found), places)
            rows[segment.recording] = _here_alone(row) if held.is_here_alone else row
        yield replace(rows[segment.recording], name=segment.name, names=(segment.name,))


def _of_segment(
    config: EncoderConfig, segment: Segment, inner: str, metric: str, found: Figure
) -> Explanation:
    """A part or layer, or the operations in it that are called `inner`."""
    where = segment.qualified(inner)
    live = {each.name: live for each, live in _with_live_bytes(config)}[segment.name]
    on_symbols = symbolic(config, segment, live_bytes=live if found.combined == "max" else None)
    rows: tuple[FormulaRow, ...] = ()
    places = elsewhere(config)
    if not found.op_keys:
        if inner:
            raise UsageError(f"{where}: {metric} is of a layer, not of an operation: ask for {segment.name}")
        if segment.layer is None and not is_of_parts(found):
            raise UsageError(f"{where}: has no attention: ask for a layer, such as blocks.0")
        total = _whole(on_symbols, config, found)
    else:
        ops = _inside(on_symbols, inner, where)
        total = sum(of_op(found, op) for op in ops)
        rows = tuple(_op_rows(on_symbols, ops, found, segment, places))
    held = holding(total, segment, _figures_of(found, inner), places)
    whole = _row(on_symbols, where, total)
    whole = _here_alone(whole) if held.is_here_alone else whole
    return replace(_explanation(config, whole, metric, rows, (segment.name, inner)), not_at=held.others)


def _here_alone(row: FormulaRow) -> FormulaRow:
    """A row without its formula, which gives the number of this size only."""
    return replace(row, formula="", symbols=())


def _figures_of(found: Figure, inner: str = "") -> FiguresOf:
    """The figure of a segment, or of what is called `inner` in it, from its own pass."""

    def figures(segment: Segment, config: EncoderConfig, live: int) -> tuple[int, ...]:
        recording = segment.recording
        if found.op_keys:
            return (sum(of_op(found, op) for op in recording.ops if not inner or _is_in(op, inner)),)
        if found.combined == "max":
            return (live + live_over(recording).peak_bytes,)
        return (OF_RECORDING[found.name](config, recording),)

    return figures


def _explanation(
    config: EncoderConfig,
    whole: FormulaRow,
    metric: str,
    rows: tuple[FormulaRow, ...],
    place: tuple[str, str],
) -> Explanation:
    found = FIGURES[metric]
    return Explanation(
        config=config,
        where=whole.name,
        metric=metric,
        what=found.word,
        combined=found.combined,
        formula=whole.formula,
        value=whole.value,
        symbols=whole.symbols,
        rows=rows,
        definition=found.meaning,
        left_out=found.left_out,
        others=what_others_say(forward(config), *place) if metric in WORK else (),
    )


def _with_live_bytes(config: EncoderConfig) -> Iterator[tuple[Segment, int]]:
    """Each segment, and the bytes that are live before it."""
    passed = forward(config)
    for segment, used in zip(passed.segments, walk(passed), strict=True):
        yield segment, used.before


def _place(config: EncoderConfig, where: str) -> tuple[Segment, str]:
    """The segment that a place is in, and what it is within that."""
    segments = {segment.name: segment for segment in forward(config).segments}
    asked = f"blocks.{where}" if where.partition(".")[0].isdecimal() else where
    for name in sorted(segments, key=len, reverse=True):
        if asked == name or asked.startswith(f"{name}."):
            return segments[name], asked[len(name) + 1 :]
    raise no_such_place(
        where, asked, list(segments), {name: _places_in(each.recording) for name, each in segments.items()}
    )


def _places_in(recording: Recording) -> list[str]:
    """The operations of a recording, and the modules that they are in."""
    names = [op.name for op in recording.ops if op.is_kernel]
    modules = (name.rsplit(".", cut)[0] for name in names for cut in range(1, name.count(".") + 1))
    return list(dict.fromkeys((*names, *modules)))


def _inside(on_symbols: Symbolic, inner: str, where: str) -> list[Op]:
    """The operations that are called `inner`, or that are in the module of that name."""
    ops, places = [op for op in on_symbols.recording.ops if op.is_kernel], _places_in(on_symbols.recording)
    if inner and inner not in places:
        hint = did_you_mean(inner, places) or f": it has {', '.join(dict.fromkeys(op.name for op in ops))}"
        raise UsageError(f"{where}: there is no such operation{hint}")
    return [op for op in ops if not inner or _is_in(op, inner)]


def _is_in(op: Op, inner: str) -> bool:
    return op.is_kernel and (op.name == inner or op.name.startswith(f"{inner}."))


def _op_rows(
    on_symbols: Symbolic, ops: Iterable[Op], found: Figure, segment: Segment, places: Sequence[Elsewhere]
) -> Iterator[FormulaRow]:
    """The operations that count, those of one name and formula together."""
    rows: dict[tuple[str, str], FormulaRow] = {}
    for op in ops:
        value = of_op(found, op)
        row = _row(on_symbols, op.name, value)
        if (row.name, row.formula) not in rows:
            held = holding(value, segment, partial(_of_name, found, op.name), places)
            row = _here_alone(row) if held.is_here_alone else row
        key = row.name, row.formula
        rows[key] = replace(row, names=(*rows[key].names, *row.names)) if key in rows else row
    yield from (row for row in rows.values() if row.value)


def _of_name(
    found: Figure, name: str, segment: Segment, _config: EncoderConfig, _live: int
) -> tuple[int, ...]:
    """The figures of the operations of a name."""
    return tuple(of_op(found, op) for op in segment.recording.ops if op.is_kernel and op.name == name)


def _whole(on_symbols: Symbolic, config: EncoderConfig, found: Figure) -> Dim:
    """The figure of a part or layer."""
    if found.op_keys:
        return of_recordings(found, (on_symbols.recording,))
    if found.combined == "max":
        return on_symbols.names["L"] + live_over(on_symbols.recording).peak_bytes
    return OF_RECORDING[found.name](config, on_symbols.recording)


def _row(on_symbols: Symbolic, name: str, formula: Integer) -> FormulaRow:
    (evaluate,) = on_symbols.space.chunks()
    return FormulaRow(
        name, (name,), WRITER(formula), int(evaluate(formula)), tuple(_symbols(on_symbols, formula))
    )


def _symbols(on_symbols: Symbolic, formula: Integer) -> Iterator[SymbolValue]:
    """The symbols of a formula as it is written."""
    points = on_symbols.space.points
    used = {atom.name for atom in atoms_of(formula) if atom.kind == "symbol"}
    values = {name: points[name] for name in used} | (
        {"C": points["h"] * points["d"]} if {"h", "d"} <= used else {}
    )
    text = WRITER(formula)
    for name in ORDER:
        if name in values and name in _names_in(text):
            yield SymbolValue(name, on_symbols.meanings[name], values[name])


def _names_in(text: str) -> set[str]:
    """The names that a written formula has."""
    words = "".join(character if character.isalnum() or character == "_" else " " for character in text)
    return {word for word in words.split() if not word[0].isdigit()}
