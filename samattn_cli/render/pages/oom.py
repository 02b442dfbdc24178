"""An out-of-memory error: what it says, the operations that fit it, and what would make the run fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.oom import Oom, OomCandidate, OomFix, OomMessage
from ...shell import options as options_of
from ...units import format_bytes, format_percent
from ..elements import Lines, Page, Section, Table
from ..layout import Layout
from ..options import Options

MANY_LAYERS = 4
SAID = (
    ("tried", "tried"),
    ("allocated", "allocated"),
    ("unallocated", "reserved, not allocated"),
    ("reserved", "reserved"),
    ("free", "free"),
    ("in_use", "in use by the process"),
    ("allowed", "allowed"),
    ("private_pools", "in private pools"),
    ("capacity", "in all"),
)
HOW_LIVE = "live: what the encoder alone has allocated before."
OTHER = "other: what the message has in addition."
MARKS = {
    "replay ends": "replay ends: a replay in the memory of the message runs out here.",
    "not first": "not first: an earlier operation needs more, and would have run out before.",
}
"""What the words of the last column mean."""
LIKELIEST = "Operations that ask for it{}, the likeliest first"
FIGURES = ("live", "other")


def page(report: Oom, options: Options) -> Page:  # noqa: ARG001 - the same at any width
    """The whole of it."""
    return Page(
        f"Out of memory: {report.message.tried.text}", _said(report.message), tuple(_sections(report))
    )


def _said(message: OomMessage) -> str:
    figures = ((getattr(message, key), word) for key, word in SAID[1:])
    texts = [f"{printed.text} {word}" for printed, word in figures if printed is not None]
    gpu = [] if message.gpu is None else [f"GPU {message.gpu}"]
    return ", ".join([*gpu, *texts]) or "the message says nothing else"


def _sections(report: Oom) -> Iterator[Section]:
    yield Lines(
        "Answer",
        (f"{report.answer[0].upper()}{report.answer[1:]}.", *_line_of_code(report), *_what_fits(report)),
    )
    if report.candidates:
        yield _candidates(report)
    if report.fixes:
        yield _fixes(report)
    yield Lines("How sure", tuple(_sure(report)))


def _line_of_code(report: Oom) -> Iterator[str]:
    first = report.candidates[0] if report.candidates else None
    if first is not None and first.code:
        back = "the backward of " if first.phase == "backward" else ""
        it = "It" if report.verdict == "operation" else "The first in the table"
        yield f"{it} is {back}this line of {first.module}: {first.code}"


def _what_fits(report: Oom) -> Iterator[str]:
    """The first change that is known to fit; if none is, that which allocates least."""
    fixes = sorted(report.fixes, key=lambda fix: (not fix.fits, fix.allocated_bytes))
    for fix in fixes[:1]:
        setting = options_of("--set", fix.set)
        verb = "fits" if fix.fits else "allocates least"
        yield f"Of the changes below, {fix.change} {verb}: {format_bytes(fix.allocated_bytes)}, {setting}"


def _candidates(report: Oom) -> Table:
    """A row for each; a column in which every row is empty is left out, and of one phase the title says which."""
    found = report.candidates
    phases = {when(each) for each in found}
    columns: list[tuple[str, list[str]]] = [
        ("preset", [each.preset for each in found] if report.config is None else []),
        ("with", [each.setting for each in found]),
        ("operation", [each.op for each in found]),
        ("layers", [layers(each) for each in found]),
        ("when", [when(each) for each in found] if len(phases) > 1 else []),
        ("live", [format_bytes(each.live_bytes) for each in found]),
        ("other", ["" if each.beside_bytes is None else format_bytes(each.beside_bytes) for each in found]),
        ("", [_mark(each) for each in found]),
    ]
    shown = [(header, cells) for header, cells in columns if any(cells)]
    text = tuple(at for at, (header, _) in enumerate(shown) if header not in FIGURES)
    where = f" in the {phases.pop()}" if len(phases) == 1 else ""
    rows = tuple(zip(*(cells for _, cells in shown), strict=True))
    return Table(
        LIKELIEST.format(where),
        tuple(header for header, _ in shown),
        rows,
        _meanings(report),
        text_columns=text,
    )


def _meanings(report: Oom) -> str:
    """What the columns and words that there are mean."""
    marks = {_mark(each) for each in report.candidates}
    sentences = [HOW_LIVE]
    sentences += [OTHER] if any(each.beside_bytes is not None for each in report.candidates) else []
    sentences += [meaning for mark, meaning in MARKS.items() if mark in marks]
    sentences += [f"{report.left_out:,} more are left out."] if report.left_out else []
    return " ".join(sentences)


def layers(candidate: OomCandidate) -> str:
    """The layers of a candidate: "blocks.2, 5, 8, 11"."""
    names = list(candidate.layers)
    if len(names) > 1 and all(name.startswith("blocks.") for name in names):
        names[1:] = [name.removeprefix("blocks.") for name in names[1:]]
    more = [f"and {len(names) - MANY_LAYERS} more"] if len(names) > MANY_LAYERS else []
    return ", ".join([*names[:MANY_LAYERS], *more])


def when(candidate: OomCandidate) -> str:
    """The phase, and the step: "forward", "backward, later step"."""
    inside = " (inside)" if candidate.is_internal else ""
    return f"{candidate.phase}{', later step' if candidate.round == 'later' else ''}{inside}"


def _mark(candidate: OomCandidate) -> str:
    if candidate.in_traceback:
        return "in the traceback"
    if candidate.runs_out_here:
        return "replay ends"
    return "" if candidate.needs_bytes > candidate.needs_before_bytes else "not first"


def _fixes(report: Oom) -> Table:
    rows = tuple(
        (
            fix.change,
            " ".join(f"--set {each}" for each in fix.set),
            format_bytes(fix.allocated_bytes),
            _fits(fix),
        )
        for fix in report.fixes
    )
    memory = "" if report.memory_bytes is None else f" in {format_bytes(report.memory_bytes)}"
    return Table(
        f"What would make it fit{memory}",
        ("change", "set", "allocated", "fits"),
        rows,
        text_columns=(0, 1, 3),
    )


def _fits(fix: OomFix) -> str:
    return "not known" if fix.fits is None else "yes" if fix.fits else "no"


def _sure(report: Oom) -> Iterator[str]:
    share = format_percent(report.by_chance)
    settings = f"{report.tried_settings:,} setting{'' if report.tried_settings == 1 else 's'}"
    if report.candidates:
        others = report.candidates[0].others
        yield (
            f"{others:,} other operation{'' if others == 1 else 's'} of the {settings} tried ask for the same size. A size of "
            f"this magnitude that has nothing to do with them would match one with a chance of {share}."
        )
    else:
        yield f"{settings} tried; a size of this magnitude would match one by chance in {share} of cases."
    yield from (f"{note[0].upper()}{note[1:]}." for note in report.notes)


def rows(report: Oom) -> Iterator[dict[str, Any]]:
    """A row for each candidate, figures exact; one without an operation if there is none."""
    for each in report.candidates or (None,):
        yield {"verdict": report.verdict, "tried": report.message.tried.text} | {
            key: _cell(each, key)
            for key in (
                "preset",
                "setting",
                "op",
                "phase",
                "layers",
                "round",
                "is_internal",
                "asks_bytes",
                "segment_bytes",
                "live_bytes",
                "beside_bytes",
                "runs_out_here",
                "in_traceback",
                "others",
            )
        }


def _cell(candidate: OomCandidate | None, key: str) -> Any:
    value = None if candidate is None else getattr(candidate, key)
    return " ".join(value) if isinstance(value, tuple) else value


LAYOUT = Layout(page, rows)
