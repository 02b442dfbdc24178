"""What contributes most to a figure: the operation of a peak, and the layers that cost most."""

from __future__ import annotations

from collections.abc import Iterator

from ..figures import FIGURES as KNOWN
from ..metric_names import COUNT, KINDS, path_of
from ..studies.causes import figure_behind
from ..studies.layers import LAYER, PART, At, segments_of
from ..studies.passes import Passes
from ..studies.readers import FIGURES, PEAK_AT
from ..units import format_amount, ranges
from .readings import Encoder, is_counted, is_of_kind

MOST = 3
ROOTS = ("totals.", "comparison.", "layers.", "measured.")


def contributions(encoder: Encoder, metric: str) -> tuple[str, ...]:
    """The layers and parts that contribute to a figure, a line each, the largest first."""
    passes = encoder.passes
    path = path_of(metric, training=passes.trains)
    figure = figure_behind(path)
    if not figure or not path.startswith(ROOTS):
        return ()
    if path.endswith(f".{COUNT}"):
        return _counted(passes, path.split(".")[1])
    place = path.split(".")[1] if path.startswith("layers.") else ""
    peak = (f"{figure} at {PEAK_AT[figure](passes)}",) if figure in PEAK_AT else ()
    return (*peak, *_most(passes, KNOWN[figure].seen_in or figure, place))


def _counted(passes: Passes, kind: str) -> tuple[str, ...]:
    """The layers that count as one kind."""
    blocks = (at for at in segments_of(passes).values() if at.block is not None)
    ats = [at for at in blocks if is_counted(at.layer, kind)]
    attends = ", ".join(dict.fromkeys(at.layer.attends for at in ats))
    return (f"{_names(ats)} ({attends})",) if ats else ()


def _most(passes: Passes, figure: str, place: str) -> Iterator[str]:
    groups: dict[float, list[At]] = {}
    for at in segments_of(passes).values():
        if _is_meant(at, place) and (value := _figure(at, figure)):
            groups.setdefault(value, []).append(at)
    of_figure = KNOWN[figure]
    adds_up = of_figure.combined == "sum"
    worst = sorted(groups.items(), key=lambda group: -group[0] * len(group[1]) ** adds_up)
    of = "" if place or not adds_up else _of_total(passes, figure)
    for value, ats in worst[:MOST]:
        each = " each" if len(ats) > 1 else ""
        amount = " ".join(filter(None, (of_figure.tag, format_amount(value, of_figure.unit))))
        yield f"{_names(ats)}: {amount}{each}{of}{_attention(ats)}"


def _of_total(passes: Passes, figure: str) -> str:
    total = FIGURES[figure](passes) if figure in FIGURES else None
    return "" if total is None else f" of {format_amount(total, KNOWN[figure].unit)}"


def _is_meant(at: At, place: str) -> bool:
    """Whether a path leads to this layer, to layers of its kind, or to the whole encoder."""
    if not place:
        return True
    layer = at.block
    if layer is None:
        return False
    return is_of_kind(layer, place) if place in KINDS else place == str(layer.index)


def _figure(at: At, figure: str) -> float:
    table = PART if at.block is None else LAYER
    return table[figure](at) or 0 if figure in table else 0


def _names(ats: list[At]) -> str:
    layers = [at.block.index for at in ats if at.block is not None]
    parts = [at.name for at in ats if at.block is None]
    return ", ".join([*([f"blocks.{ranges(layers)}"] if layers else []), *parts])


def _attention(ats: list[At]) -> str:
    kinds = {at.block.attends for at in ats if at.block is not None}
    return f" ({kinds.pop()})" if len(kinds) == 1 else ""
