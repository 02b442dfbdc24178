"""What changed from one encoder to another: keys, figures of the encoder, layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...figures import FIGURES, names, of
from ...metric_names import path_of
from ...reports.diff import CHANGED, Diff, FigureChange, LayerChange
from ...units import Figures, Rounded, format_apart, format_growth, format_things, ranges
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options
from ..shield import visible
from .analysis import heading_of
from .diff_short import in_short

SUMMED = [figure for figure in of("layer") if figure.combined == "sum"]
OF_LAYERS = names(sorted(SUMMED, key=lambda figure: -figure.telling))
"""The figures of layers, the most telling first."""
NARROW, WIDE = 2, 4
"""Figures that the table of layers shows."""
LONGEST = 14  # of the names of layers that a row has


def page(report: Diff, options: Options) -> Page:
    """Keys, figures and layers, as far as any changed."""
    title = visible(f"{report.before} → {report.after}")
    (first, shape), (second, other) = heading_of(report.before_config), heading_of(report.after_config)
    if shape == other:
        what = f"{' → '.join(dict.fromkeys((first, second)))}\n{shape}"
    else:
        what = f"before: {first}: {shape}\nafter: {second}: {other}"
    short = tuple(in_short(report, lambda figure: _in_words(report, figure)))
    return Page(title, visible(what, keep="\n"), tuple(_sections(report, options)), short)


def _sections(report: Diff, options: Options) -> Iterator[Section]:
    if report.keys:
        yield Lines("Keys that changed", tuple(_keys(report)))
    if not report.costs_differ:
        what = "Nothing" if not report.keys else "No figure"
        yield Lines("Cost", (f"{what} differs.",))
        return
    yield _totals(report)
    if report.layers:
        yield _layers(report, options)


def _keys(report: Diff) -> Iterator[str]:
    for change in report.keys:
        place = f"  ({change.place})" if change.place and change.place.line else ""
        yield visible(f"{_arrows(change.text)}{place}")


def _totals(report: Diff) -> Table:
    peaks = [
        f"{FIGURES[peak.metric].word}: set at {_arrows(CHANGED.join(dict.fromkeys((peak.before, peak.after))))}"
        for peak in report.peaks
    ]
    rows = tuple(_total(figure, _word(report, figure.metric)) for figure in report.totals)
    return Table("Encoder", ("", "before", "after", "change", ""), rows, "\n".join(peaks))


def _word(report: Diff, metric: str) -> str:
    """What a figure is called of runs as both are."""
    return FIGURES[metric].word_in({report.before_config.run.mode, report.after_config.run.mode})


def _total(figure: FigureChange, name: str) -> tuple[str, ...]:
    unit = FIGURES[figure.metric].unit
    if figure.before is None or figure.after is None:
        values = (figure.before, figure.after)
        return (name, *("" if value is None else format_apart(unit, value)[0] for value in values), "", "")
    was, now = (_bare(text, figure.metric) for text in format_apart(unit, figure.before, figure.after))
    if not figure.change:
        return (name, was, now, "same", "")
    change = _bare(format_apart(unit, abs(figure.change))[0], figure.metric)
    signed = Rounded(f"{'+' if figure.change > 0 else '-'}{change}", figure.change, unit)
    return (name, was, now, signed, _percent(figure))


def _in_words(report: Diff, figure: FigureChange) -> str:
    """A figure of both, and the change."""
    name = _word(report, figure.metric)
    if not figure.change:
        return f"{name} the same"
    there = [value for value in (figure.before, figure.after) if value is not None]
    both = [_bare(text, figure.metric) for text in format_apart(FIGURES[figure.metric].unit, *there)]
    change = _percent(figure)
    return f"{name} {' → '.join(both)}{f' ({change})' if change else ''}"


def _bare(text: str, metric: str) -> str:
    """Without the unit, where the name of its row or column has it."""
    figure = FIGURES[metric]
    bare = text.removesuffix(figure.unit).rstrip() if figure.is_count else text
    return Rounded(bare, text.value, text.unit) if isinstance(text, Rounded) else bare


def _percent(figure: FigureChange) -> str:
    if not figure.before:
        return ""
    return format_growth(figure.change / figure.before)


def _layers(report: Diff, options: Options) -> Table:
    columns = _columns(report)[: WIDE if options.wide else NARROW]
    shares = len(columns) if options.wide else 1  # of the columns with a percentage next to them
    headers = ["layer", "attention"]
    for number, metric in enumerate(columns):
        headers += [_word(report, metric), ""][: 1 + (number < shares)]
    shown = [layer for layer in report.layers if any(map(layer.figure, columns))]
    rows = tuple(_row(layer, columns, shares, wide=options.wide) for layer in shown)
    note = "\n".join(_notes(report, shown))
    return Table("Layers that changed", tuple(headers), rows, note, text_columns=(0, 1))


def _columns(report: Diff) -> list[str]:
    """The figures that changed of any layer: that which was asked for, then the most telling."""
    asked = path_of(report.metric).rpartition(".")[2]
    return [
        metric
        for metric in dict.fromkeys((asked, *OF_LAYERS))
        if metric in OF_LAYERS and any(layer.figure(metric) for layer in report.layers)
    ]


def _row(layer: LayerChange, columns: Sequence[str], shares: int, *, wide: bool) -> tuple[str, ...]:
    cells = [visible(_name(layer)), _attention(layer, wide=wide)]
    for number, metric in enumerate(columns):
        figure = layer.figure(metric)
        both = figure is not None and figure.before is not None and figure.after is not None
        cells.append(_both(figure) if figure else "same")
        cells += [_percent(figure) if figure and both else ""][: number < shares]
    return tuple(cells)


def _both(figure: FigureChange) -> str:
    """A figure before and after, or the one that there is."""
    unit = FIGURES[figure.metric].unit
    values = [value for value in (figure.before, figure.after) if value is not None]
    texts = _bare(figure.text, figure.metric).split(CHANGED)
    if len(texts) != len(values):
        return _arrows(CHANGED.join(texts))
    *first, last = [Rounded(text, value, unit) for text, value in zip(texts, values, strict=True)]
    return Figures(*(part for text in first for part in (text, " → ")), last)


def _attention(layer: LayerChange, *, wide: bool) -> str:
    """Where it attends; "window" once, or in a narrow table not next to other words."""
    words = _arrows(layer.attention)
    if words.startswith("window"):
        words = words.replace(" → window ", " → ")
    words = words if layer.change == "changed" else ": ".join(filter(None, (layer.change, words)))
    is_plain = words == layer.attention and layer.change == "changed"
    return words if wide or is_plain else words.replace("window ", "")


def _name(layer: LayerChange) -> str:
    """Indexes, as far as there is room; then from which to which, and how many of these."""
    name = ranges(layer.indexes)
    if not layer.indexes:
        return layer.name
    return name if len(name) <= LONGEST else f"{layer.indexes[0]}..{layer.indexes[-1]} ×{len(layer.indexes)}"


def _notes(report: Diff, shown: Sequence[LayerChange]) -> Iterator[str]:
    """The layers of a row that does not name them, and what the rows do not say."""
    for layer in shown:
        if _name(layer) != (ranges(layer.indexes) or layer.name):
            yield f"{_name(layer)}: {ranges(layer.indexes)}"
    others = [layer for layer in report.layers if layer not in shown]
    if others:
        figures = dict.fromkeys(_word(report, each.metric) for layer in others for each in layer.figures)
        yield f"{', '.join(map(_name, others))}: only {', '.join(figures)}"
    moved = sum(len(layer.former) for layer in report.layers)
    if moved:
        yield f"{format_things(moved, 'layer')} moved; matched by similarity"


def _arrows(text: str) -> str:
    return text.replace(CHANGED, " → ")


def rows(report: Diff) -> Iterator[dict[str, Any]]:
    """A row a figure of the encoder, a key, a figure of a layer, exact."""
    for total in report.totals:
        yield _flat("total", "", total.metric, total.before, total.after)
    for key in report.keys:
        yield _flat("key", "", key.key, key.before, key.after, place=str(key.place or ""))
    for layer in report.layers:
        for number, name in enumerate(layer.names):
            for figure in layer.figures:
                former = layer.former[number] if layer.former else ""
                about = {"change": layer.change, "attention": layer.attention, "former": former}
                yield _flat("layer", name, figure.metric, figure.before, figure.after, **about)


def _flat(row: str, name: str, what: str, before: Any, after: Any, **about: str) -> dict[str, Any]:
    entries = {"row": row, "layer": name, "former": "", "change": "", "attention": "", "figure": what}
    is_number = all(isinstance(value, (int, float)) for value in (before, after))
    difference = after - before if is_number and not isinstance(after, bool) else None
    values = {"before": before, "after": after, "difference": difference, "place": ""}
    return entries | values | about


def chart(report: Diff) -> dict[str, Any] | None:
    """The layers that changed: see `diff_chart`."""
    from .diff_chart import chart as drawn

    return drawn(report, _columns(report))


LAYOUT = Layout(page, rows, chart)
