"""Explain a figure: the formula that the same pass gives on symbols, and its number for this config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from ..encoder.model import EncoderConfig
from ..errors import UsageError, did_you_mean
from ..figures import EXPLAINED, FIGURES, Figure, figure_for_option
from ..records import replace
from ..reports.explanation import Explanation, FormulaRow, SymbolValue
from ..tape.encoder import forward
from ..tape.memory import Liveness, live_over, walk
from ..tape.ops import Op, Recording
from ..tape.segments import Segment
from ..tape.storage import Dim
from ..tape.symbols.formula import Integer, atoms_of
from ..tape.symbols.written import Writer
from ..tape.tools import what_others_say
from .arguments import check_config
from .attention_kernels import by_capability
from .layers import no_such_place
from .passes import Passes
from .readers import OF_RECORDING, is_of_parts, of_op, of_recordings
from .symbolic import MEANINGS, Symbolic, symbolic
from .tapped import TAPPED
from .validity import Elsewhere, FiguresOf, elsewhere, validity_of

ORDER = ("B", "H", "W", "N", "", *TAPPED, *(name for name in MEANINGS if name not in {"B", "H", "W", "N"}))
WORK = ("macs", "flops")
"""The figures that other tools report too."""
WRITER = Writer(ORDER, {("h", "d"): "C"})


def explain(config: EncoderConfig, where: str = "", metric: str = "macs") -> Explanation:
    """Explain a figure.

    Args:
        config: the encoder.
        where: "7", "blocks.7", "neck", or an operation or module in it, such as "7.attn.scores"; "" for the encoder.
        metric: a name or an alias of a figure that has a formula.

    Raises:
        UsageError: if the encoder has no such layer, part or operation, or it has no such figure.
    """
    check_config("explain", config)
    metric = figure_for_option("metric", metric, EXPLAINED, "has no formula")
    figure = FIGURES[metric]
    if figure.by_mode and config.run.mode == "training":
        raise UsageError(
            "inference-only",
            f"{metric}: formulas exist only for inference, but run.mode is training; use --set "
            "run.mode=inference",
        )
    if not where:
        return _of_encoder(config, metric, figure)
    segment, inner = _place(config, where)
    return _of_segment(config, segment, inner, metric, figure)


def _of_encoder(config: EncoderConfig, metric: str, figure: Figure) -> Explanation:
    """All parts and layers; those with the same formula and numbers share a row."""
    rows: dict[tuple[str, tuple[SymbolValue, ...], int], FormulaRow] = {}
    for row in _segment_rows(config, figure):
        key = row.formula, row.symbols, row.value
        rows[key] = replace(rows[key], names=(*rows[key].names, row.name)) if key in rows else row
    made = tuple(row for row in rows.values() if row.value)
    values = [row.value if figure.combined == "max" else len(row.names) * row.value for row in made]
    value = max(values) if figure.combined == "max" else sum(values)
    return _explanation(config, FormulaRow("", (), "", value, ()), metric, made, ("", ""))


def _segment_rows(config: EncoderConfig, figure: Figure) -> Iterator[FormulaRow]:
    """The figure of each part and layer; equal blocks share one symbolic pass."""
    rows: dict[Recording, FormulaRow] = {}
    places = elsewhere(config)
    for segment, live in _with_live_bytes(config):
        if segment.layer is None and not is_of_parts(figure):
            continue
        if segment.recording not in rows:
            on_symbols = symbolic(config, segment, live_bytes=live if figure.combined == "max" else None)
            whole = _whole(on_symbols, config, figure, segment)
            row = _row(on_symbols, segment.name, whole)
            validity = validity_of(whole, segment, _figures_of(figure), places)
            rows[segment.recording] = _without_formula(row) if validity.is_here_only else row
        yield replace(rows[segment.recording], name=segment.name, names=(segment.name,))


def _of_segment(
    config: EncoderConfig, segment: Segment, inner: str, metric: str, figure: Figure
) -> Explanation:
    """A part or layer, or the operations in it that are named `inner`."""
    where = segment.qualified(inner)
    live = {each.name: live for each, live in _with_live_bytes(config)}[segment.name]
    on_symbols = symbolic(config, segment, live_bytes=live if figure.combined == "max" else None)
    rows: tuple[FormulaRow, ...] = ()
    places = elsewhere(config)
    if not figure.op_keys:
        if inner:
            raise UsageError(
                "layers-only", f"{where}: operations do not have {metric}; ask for the layer {segment.name}"
            )
        if segment.layer is None and not is_of_parts(figure):
            raise UsageError(
                "layers-only", f"{where}: only layers have {metric}; ask for a layer, such as blocks.0"
            )
        total = _whole(on_symbols, config, figure, segment)
    else:
        ops = _inside(on_symbols, inner, where)
        total = sum(of_op(figure, op) for op in ops)
        rows = tuple(_op_rows(on_symbols, ops, figure, segment, places))
    validity = validity_of(total, segment, _figures_of(figure, inner), places)
    whole = _row(on_symbols, where, total)
    whole = _without_formula(whole) if validity.is_here_only else whole
    kernels = by_capability(Passes(config), segment.name, lambda op: not inner or _is_in(op, inner))
    made = _explanation(config, whole, metric, rows, (segment.name, inner))
    return replace(made, not_at=validity.others, kernels=kernels)


def _without_formula(row: FormulaRow) -> FormulaRow:
    """A row without its formula, because that is right for this size only."""
    return replace(row, formula="", symbols=())


def _figures_of(figure: Figure, inner: str = "") -> FiguresOf:
    """The figure of a segment, or of the operations named `inner` in it, from its own pass."""

    def figures(segment: Segment, config: EncoderConfig, live: int) -> tuple[int, ...]:
        recording = segment.recording
        if figure.op_keys:
            return (sum(of_op(figure, op) for op in recording.ops if not inner or _is_in(op, inner)),)
        if figure.combined == "max":
            return (live + _live_over(segment, config).peak_bytes,)
        return (OF_RECORDING[figure.name](config, recording),)

    return figures


def _explanation(
    config: EncoderConfig,
    whole: FormulaRow,
    metric: str,
    rows: tuple[FormulaRow, ...],
    place: tuple[str, str],
) -> Explanation:
    figure = FIGURES[metric]
    return Explanation(
        config=config,
        where=whole.name,
        metric=metric,
        what=figure.word,
        combined=figure.combined,
        formula=whole.formula,
        value=whole.value,
        symbols=whole.symbols,
        rows=rows,
        definition=figure.meaning,
        left_out=figure.left_out,
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
        raise UsageError("unknown-operation", f"{where}: no such operation{hint}")
    return [op for op in ops if not inner or _is_in(op, inner)]


def _is_in(op: Op, inner: str) -> bool:
    return op.is_kernel and (op.name == inner or op.name.startswith(f"{inner}."))


def _op_rows(
    on_symbols: Symbolic, ops: Iterable[Op], figure: Figure, segment: Segment, places: Sequence[Elsewhere]
) -> Iterator[FormulaRow]:
    """The operations with a figure above 0; those with the same name and formula share a row."""
    rows: dict[tuple[str, str], FormulaRow] = {}
    for op in ops:
        value = of_op(figure, op)
        row = _row(on_symbols, op.name, value)
        if (row.name, row.formula) not in rows:
            validity = validity_of(value, segment, partial(_of_name, figure, op.name), places)
            row = _without_formula(row) if validity.is_here_only else row
        key = row.name, row.formula
        rows[key] = replace(row, names=(*rows[key].names, *row.names)) if key in rows else row
    yield from (row for row in rows.values() if row.value)


def _of_name(
    figure: Figure, name: str, segment: Segment, _config: EncoderConfig, _live: int
) -> tuple[int, ...]:
    """The figures of the operations with a name."""
    return tuple(of_op(figure, op) for op in segment.recording.ops if op.is_kernel and op.name == name)


def _live_over(segment: Segment, config: EncoderConfig) -> Liveness:
    """The liveness of an inference forward, in which autograd keeps tensors if it is on."""
    return live_over(segment.recording, segment.kept if config.run.keeps_graph else frozenset())


def _whole(on_symbols: Symbolic, config: EncoderConfig, figure: Figure, segment: Segment) -> Dim:
    """The figure of a part or layer."""
    if figure.op_keys:
        return of_recordings(figure, (on_symbols.recording,))
    if figure.combined == "max":
        here = replace(segment, recording=on_symbols.recording, entries=on_symbols.entries)
        return on_symbols.names["L"] + _live_over(here, config).peak_bytes
    return OF_RECORDING[figure.name](config, on_symbols.recording)


def _row(on_symbols: Symbolic, name: str, formula: Integer) -> FormulaRow:
    (evaluate,) = on_symbols.space.chunks()
    return FormulaRow(
        name, (name,), WRITER(formula), int(evaluate(formula)), tuple(_symbols(on_symbols, formula))
    )


def _symbols(on_symbols: Symbolic, formula: Integer) -> Iterator[SymbolValue]:
    """The symbols in a formula, in the order of `ORDER`."""
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
    """The names in a written formula."""
    words = "".join(character if character.isalnum() or character == "_" else " " for character in text)
    return {word for word in words.split() if not word[0].isdigit()}
