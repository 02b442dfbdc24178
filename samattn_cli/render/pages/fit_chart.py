"""A fit as a chart: live bytes over size, a panel for each question and mode, a line for each kernel, the memory as a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...reports.fit import Answer, Fit
from ...units import format_bytes
from ..charts import lines
from ..charts.lines import Limit, Line, Mark, Picture
from ..charts.theme import Spec
from .analysis import heading_of

SIZES = {
    "resolution": "image size (px), longer side",
    "batch_size": "images a pass",
    "global_layers": "global layers",
}
FAR = 8
"""How many times smaller than the smallest edge the sizes are with which lines begin."""
WORDS = {"resolution": "resolution", "batch_size": "batch size", "global_layers": "global layers"}


def chart(report: Fit) -> Spec:
    """The Vega-Lite spec."""
    title, shape = heading_of(report.config)
    drawn = [answer for answer in report.answers if answer.curve]
    whose = f"that a process can use on {report.device}" if report.device else "that was asked for"
    memory = format_bytes(report.memory_bytes)
    more = "; the allocator decides what fits" if report.device else ""
    return lines.spec(
        Picture(
            title=f"{title}: how large it can get",
            subtitle=f"{shape}. Lines are the live bytes of tensors{more}. The dashed line is the {memory} {whose}. A square is the "
            "largest size that fits; beyond it a line goes on to one and a half times the memory.",
            x_title="",
            line_title="attention",
            lines=tuple(_line(answer, _first_of(answer, drawn)) for answer in drawn),
            marks=tuple(mark for answer in drawn for mark in _marks(answer)),
            limits=tuple(
                Limit(metric, report.memory_bytes, memory) for metric in dict.fromkeys(map(_metric, drawn))
            ),
            x_titles={_metric(answer): SIZES[answer.vary] for answer in drawn},
        )
    )


def _metric(answer: Answer) -> str:
    """The title of its panel."""
    return f"{WORDS[answer.vary]}, {answer.mode}"


def _line(answer: Answer, first: int) -> Line:
    """From the first size that is drawn on."""
    shown = [point for point in answer.curve if point[0] >= first] or answer.curve[-1:]
    sizes, peaks = zip(*shown, strict=True)
    return Line(answer.attention, _metric(answer), "B", sizes, peaks)


def _first_of(answer: Answer, drawn: Sequence[Answer]) -> int:
    """The first size that a panel draws: far below the smallest edge, weights set the peak."""
    edges = [_largest(each) for each in drawn if _metric(each) == _metric(answer)]
    return min(edges) // FAR


def _largest(answer: Answer) -> int:
    """The largest size that fits; the smallest of all if none does."""
    fits = answer.fits
    if fits is None:
        return answer.curve[0][0]
    return {
        "resolution": max(fits.image_size),
        "batch_size": fits.batch_size,
        "global_layers": len(fits.global_layers),
    }[answer.vary]


def _marks(answer: Answer) -> Iterator[Mark]:
    """The largest that fits, on the line."""
    fits = answer.fits
    if fits is None:
        return
    text = f"{answer.label} fits and takes {format_bytes(fits.allocated_bytes or fits.peak_bytes)}"
    if answer.next is not None:
        text += f"; {answer.next_label} does not fit"
    yield Mark(
        answer.attention, _metric(answer), "largest that fits", _largest(answer), fits.peak_bytes, text
    )
