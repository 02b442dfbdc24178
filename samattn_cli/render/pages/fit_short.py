"""The answer of a fit in short: whether the config fits as it is, and how far it can grow, with its own kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...reports.fit import Answer as Grown
from ...reports.fit import AsItIs, Fit, Vary
from ...shell import command
from ...units import format_bytes
from ..elements import BAD, GOOD, Answer

WORDS: dict[Vary, str] = {
    "resolution": "{} px",
    "batch_size": "batch {}",
    "global_layers": "{} layers global",
}
NONE: dict[Vary, str] = {
    "resolution": "no resolution",
    "batch_size": "not even a batch of 1",
    "global_layers": "not even as all windowed",
}


OF_FIT = ("--vary", "--mode", "--attention", "--aspect", "--output", "-o", "--format", "-f")
"""Options with a value, which say what of a fit is asked for or written."""


def in_short(report: Fit, words: Sequence[str] = ()) -> Iterator[Answer]:
    """Two lines for each mode, and for one in which no kernel fits what says which change would.

    `words`: of the command that made the report, its name first; () for none.
    """
    own = report.as_it_is[0].attention  # the kernel of the config comes first
    for each in report.as_it_is:
        if each.attention == own:
            alike = [other for other in report.as_it_is if other.mode == each.mode]
            nothing_fits = not any(other.encoder.fits or other.encoder.refused for other in alike)
            is_unanswered = bool(words) and nothing_fits and not report.checkpointing
            yield _verdict(report, each, "; what would fit:" if is_unanswered else "")
            if is_unanswered:
                yield Answer("", command=_analysis(words, each.mode))
    for each in report.as_it_is:
        answers = [answer for answer in report.answers if (answer.mode, answer.attention) == (each.mode, own)]
        if each.attention == own and (words := ", ".join(filter(None, map(_largest, answers)))):
            yield Answer(f"largest in {each.mode}: {words}")


def _analysis(words: Sequence[str], mode: str) -> str:
    """The command that names a change with which the config of a fit fits."""
    kept, is_value = list[str](), False
    for word in words[1:]:
        is_own = word.partition("=")[0] in OF_FIT or (word.startswith("-o") and word != "-o")
        if not is_value and not is_own and word != "--no-padding":
            kept.append(word)
        is_value = word in OF_FIT
    return command("analyze", *kept, *(("--mode", mode) if mode != "inference" else ()))


def _verdict(report: Fit, each: AsItIs, otherwise: str) -> Answer:
    """Whether it fits as it is; if not, which other kernels do, or what to say if none does."""
    room = report.device or f"in {format_bytes(report.memory_bytes)}"
    how, encoder = f"in {each.mode}, {each.attention}", each.encoder
    if encoder.fits:
        return Answer(f" {room} {how}: {format_bytes(encoder.spare_bytes)} to spare", GOOD, "fits")
    if encoder.refused:
        return Answer(f" {how}, whatever the memory: {encoder.refused}", BAD, "does not run")
    others = [other.attention for other in report.as_it_is if other.mode == each.mode and other.encoder.fits]
    instead = f"; {' and '.join(others)} {'fits' if len(others) == 1 else 'fit'}" if others else otherwise
    return Answer(f" {room} {how}: lacks {format_bytes(encoder.missing_bytes)}{instead}", BAD, "does not fit")


def _largest(answer: Grown) -> str:
    """How far one thing can grow; "" if there is nothing to choose from."""
    if answer.status == "no candidates":
        return ""
    if answer.fits is None:
        return NONE[answer.vary]
    height, _, width = answer.label.partition("x")
    return WORDS[answer.vary].format(height if height == width else answer.label)
