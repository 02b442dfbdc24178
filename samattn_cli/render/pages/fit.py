"""A fit as tables: for each thing that may grow, a row for each mode and kernel, with the last that fits and the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from ...reports.analysis import layer_of
from ...reports.candidate import Candidate
from ...reports.fit import Answer, AsItIs, Fit, Gap, Vary
from ...units import format_bytes, format_size, format_things
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options
from . import fit_checkpoints
from .analysis import heading_of
from .fit_short import in_short

TITLES: dict[Vary, str] = {
    "resolution": "Largest resolution",
    "batch_size": "Largest batch",
    "global_layers": "Most global layers",
}
MOST_GAPS = 4
"""Gaps that a sentence lists."""

ALONE = "for the encoder without decoder, head and loss"
NOTHING = "-"
ALLOCATED = "takes: torch.cuda.max_memory_allocated. lacks: by max_memory_reserved."
HEADERS = ("mode", "attention", "largest", "takes", "spare", "next", "lacks", "stopped at")


def page(report: Fit, options: Options) -> Page:
    """The whole of it."""
    title, shape = heading_of(report.config)
    return Page(
        title,
        f"{shape}; in {_memory(report)}, {ALONE}",
        tuple(_sections(report, options)),
        tuple(in_short(report, options.command)),
    )


def _memory(report: Fit) -> str:
    size = format_bytes(report.memory_bytes)
    return f"the {size} of {report.device} that a process can use" if report.device else size


def _sections(report: Fit, options: Options) -> Iterator[Section]:
    yield from fit_checkpoints.sections(report)
    yield _as_it_is(report, wide=options.wide)
    for vary, group in groupby(report.answers, key=lambda answer: answer.vary):
        answers = list(group)
        if any(answer.status != "no candidates" for answer in answers):
            yield _table(report, answers, vary, wide=options.wide)
    if notes := tuple(dict.fromkeys(_notes(report))):
        yield Lines("Notes", notes)


def _as_it_is(report: Fit, *, wide: bool) -> Table:
    rows = tuple(_row_as_it_is(each, wide=wide) for each in report.as_it_is)
    headers = ("mode", "attention", "fits", "takes", "spare", "lacks", "stopped at")
    is_allocated = any(each.encoder.allocated_bytes is not None for each in report.as_it_is)
    return Table("As it is", headers, rows, ALLOCATED if is_allocated else "", (0, 1, 6))


def _row_as_it_is(each: AsItIs, *, wide: bool) -> tuple[str, ...]:
    encoder = each.encoder
    return (
        each.mode,
        each.attention,
        "yes" if encoder.fits else "no",
        format_bytes(encoder.taken_bytes),
        format_bytes(encoder.spare_bytes) if encoder.fits else NOTHING,
        NOTHING if encoder.fits else _lacks(encoder),
        _stop(encoder, wide=wide),
    )


def _lacks(encoder: Candidate) -> str:
    """What is missing; nothing, where memory is not what stops it."""
    return NOTHING if encoder.refused else format_bytes(encoder.missing_bytes)


def _stop(encoder: Candidate, *, wide: bool) -> str:
    """The operation; in a narrow table the layer."""
    if encoder.fits:
        return NOTHING
    return encoder.stopped_at if wide else layer_of(encoder.stopped_at, encoder.too_large)


def _table(report: Fit, answers: list[Answer], vary: Vary, *, wide: bool) -> Table:
    rows = tuple(_row(answer, wide=wide) for answer in answers)
    return Table(TITLES[vary], HEADERS, rows, _note(report, vary), (0, 1, 7))


def _row(answer: Answer, *, wide: bool) -> tuple[str, ...]:
    def cell(encoder: Candidate | None, figure: Callable[[Candidate], str]) -> str:
        return NOTHING if encoder is None else figure(encoder)

    return (
        answer.mode,
        answer.attention,
        _short(answer.label) or "none",
        cell(answer.fits, lambda encoder: format_bytes(encoder.taken_bytes)),
        cell(answer.fits, lambda encoder: format_bytes(encoder.spare_bytes)),
        _short(answer.next_label) or NOTHING,
        cell(answer.next, _lacks),
        cell(answer.next, lambda encoder: _stop(encoder, wide=wide)),
    )


def _short(label: str) -> str:
    """A square by its side; a number of layers alone."""
    height, _, width = label.partition("x")
    return height.partition(" of ")[0] if height == width or not width else label


def _layers(label: str) -> str:
    """Of "4 of 12" the last, in words."""
    number = int(label.partition(" of ")[2])
    return "1 layer that has a window" if number == 1 else f"{number} layers that have a window"


def _note(report: Fit, vary: Vary) -> str:
    """How its candidates differ."""
    if vary == "batch_size":
        return ""
    if vary == "global_layers":
        number = next(answer.label or answer.next_label for answer in report.answers if answer.vary == vary)
        now = len(report.as_it_is[0].encoder.global_layers)
        are = "none is" if not now else "1 is" if now == 1 else f"{now} are"
        return f"Of the {_layers(number)}, placed evenly (even:K); now {are} global."
    width, height = report.aspect
    shape = "Square images" if width == height else f"Images of {height} to {width}, height to width"
    is_padded = report.config.whole_side != report.config.patch[-1]
    whole = "each side whole windows" if is_padded else "each side whole patches"
    sides = "sides that patches, windows and strides divide" if report.no_padding else whole
    return f"{shape}{_own_image(report)}; {sides}."


def _own_image(report: Fit) -> str:
    """Whose shape that is, if it was not asked for."""
    if not report.is_own_aspect:
        return ""
    (*_, height, width), (across, down) = report.config.image_size, report.aspect
    nearly = "" if width * down == height * across else "nearly "
    return f", {nearly}the shape of the config's {format_size(report.config.image_size)}"


def _notes(report: Fit) -> Iterator[str]:
    """What the tables do not show; a note that is the same for several kernels is given once."""
    yield from (f"{kernel.attention}: {kernel.reason}." for kernel in report.unmodelled)
    yield from dict.fromkeys(
        f"As it is, {each.mode} {each.attention} does not run, whatever the memory. {each.encoder.refused}."
        for each in report.as_it_is
        if each.encoder.refused
    )
    yield from _of_answers(report)
    yield from filter(None, [_states(report)])
    for vary in dict.fromkeys(answer.vary for answer in report.answers if not answer.every_one):
        yield f"{TITLES[vary]}: found by bisection. Each size needs a pass of its own, so not every smaller size was tried."
    yield _counted(report)


def _of_answers(report: Fit) -> Iterator[str]:
    """The notes of answers, each with the modes and kernels that have it."""
    kernels: dict[tuple[str, str], dict[str, list[str]]] = {}
    for answer in report.answers:
        for text in _of_answer(answer):
            having = kernels.setdefault((TITLES[answer.vary], text), {})
            having.setdefault(answer.mode, []).append(answer.attention)
    for (title, text), having in kernels.items():
        modes: dict[str, list[str]] = {}
        for mode, names in having.items():
            modes.setdefault(", ".join(names), []).append(mode)
        for names_of, alike in modes.items():
            yield f"{title}, {' and '.join(alike)} {names_of}: {text}"


def _counted(report: Fit) -> str:
    """What the bytes are."""
    if any(each.encoder.allocated_bytes is not None for each in report.as_it_is):
        near = any(answer.tried_from for answer in report.answers)
        return (
            "Sizes run through the rules of torch's allocator, with workspaces except those of cuDNN's convolutions"
            f"{'; gaps far below an edge are not looked for' if near else ''}."
        )
    return (
        "Bytes of tensors, each rounded up to 512. Workspaces of kernels and fragmentation are not included; "
        "--device NAME includes them."
    )


def _of_answer(answer: Answer) -> Iterator[str]:
    if answer.status == "no candidates":
        yield f"{answer.message}."
    elif answer.status == "all fit" and answer.vary != "global_layers":
        yield f"there is no larger one; {answer.message}."
    if answer.next is not None and answer.next.refused:
        yield f"{_short(answer.next_label)} does not run, whatever the memory. {answer.next.refused}."
    if answer.gaps:
        yield _gaps(answer)


def _states(report: Fit) -> str:
    """How much of the smallest is weights and what belongs to them, where not even the smallest fits."""
    states = {}
    for answer in report.answers:
        if answer.fits is None and answer.next is not None:
            what = (
                "weights" if answer.mode == "inference" else "weights, gradients and the optimizer's buffers"
            )
            state = answer.next.state_bytes
            alone = " alone" if state > report.memory_bytes else ""
            states[answer.mode] = f"in {answer.mode} {what} take {format_bytes(state)}{alone}"
    return f"Where none fits, {'; '.join(states.values())}." if states else ""


def _gaps(answer: Answer) -> str:
    """Smaller candidates that do not fit."""
    gaps: tuple[Gap, ...] = answer.gaps
    first, worst = gaps[0], max(gaps, key=lambda gap: gap.taken_bytes)
    if len(gaps) <= MOST_GAPS:
        named = ", ".join(f"{_short(gap.label)} ({format_bytes(gap.taken_bytes)})" for gap in gaps)
        return f"smaller ones that do not fit: {named}."
    many = format_things(len(gaps), "smaller one")
    return (
        f"{many} do not fit, from {_short(first.label)} on, though {_short(answer.label)} does; "
        f"{_short(worst.label)} takes {format_bytes(worst.taken_bytes)}."
    )


def rows(report: Fit) -> Iterator[dict[str, Any]]:
    """A row for each answer, figures exact."""
    for answer in report.answers:
        yield {
            "vary": answer.vary,
            "mode": answer.mode,
            "attention": answer.attention,
            "status": answer.status,
            "memory_bytes": report.memory_bytes,
            **_flat("fits", answer.label, answer.fits),
            **_flat("next", answer.next_label, answer.next),
            "next_stopped_at": answer.next and answer.next.stopped_at,
            "gaps": len(answer.gaps),
            "candidates": answer.candidates,
            "every_one": answer.every_one,
            "message": answer.message,
        }
    yield from fit_checkpoints.rows(report)


def _flat(prefix: str, label: str, encoder: Candidate | None) -> dict[str, Any]:
    figures = {
        "image_height": encoder and encoder.image_size[-2],
        "image_width": encoder and encoder.image_size[-1],
        "batch_size": encoder and encoder.batch_size,
        "global_layers": encoder and len(encoder.global_layers),
        "peak_bytes": encoder and encoder.peak_bytes,
        "allocated_bytes": encoder and encoder.allocated_bytes,
        "reserved_bytes": encoder and encoder.reserved_bytes,
        "spare_bytes": encoder and encoder.spare_bytes,
        "peak_at": encoder and encoder.peak_at,
    }
    return {prefix: label or None} | {f"{prefix}_{name}": value for name, value in figures.items()}


def chart(report: Fit) -> dict[str, Any] | None:
    """A panel for each question and mode: see `fit_chart`; None without curves."""
    if not any(answer.curve for answer in report.answers):
        return None
    from .fit_chart import chart as drawn

    return drawn(report)


LAYOUT = Layout(page, rows, chart)
