"""Which blocks to checkpoint, as a fit says it: the answer in a sentence for each kernel, and the line that sets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.checkpoints import CheckpointAnswer, Checkpointed
from ...reports.fit import Fit
from ...shell import options
from ...units import format_bytes, format_ms
from ..elements import Lines, Section, Table

TITLE = "Blocks to checkpoint in training"
HEADERS = ("", "blocks", "more FLOPs", "takes", "spare")


def sections(report: Fit) -> Iterator[Section]:
    """The answers, and a table of what they cost; nothing if that was not asked."""
    if not report.checkpointing:
        return
    yield Lines(
        TITLE,
        tuple(f"{each.attention}: {text}" for each in report.checkpointing for text in _answer(each, report)),
    )
    rows = tuple(row for each in report.checkpointing for row in _rows(each))
    if rows:
        yield Table("What they cost", HEADERS, rows, "", (0, 1))


def _answer(answer: CheckpointAnswer, report: Fit) -> Iterator[str]:
    best = answer.best
    if best is None:
        yield f"{answer.message}."
        return
    memory, taken = format_bytes(report.memory_bytes), format_bytes(best.encoder.taken_bytes)
    if answer.status == "fits as it is":
        yield f"no checkpointing is needed: {taken} of {memory}."
    elif answer.status == "fits":
        what = "all blocks" if best.checkpointing is True else f"blocks {best.words}"
        time = "" if best.recomputed_ms is None else f", {format_ms(best.recomputed_ms)} a step"
        yield f"checkpoint {what}: {best.more_flops:.1%} more FLOPs{time}, {taken} of {memory} ({_setting(best)})."
    elif best.encoder.refused:
        yield f"it does not run, whatever the memory. {best.encoder.refused}."
    else:
        yield f"nothing fits: the nearest, with blocks {best.words or 'none'}, lacks {format_bytes(best.encoder.missing_bytes)}."
    yield from _proof(answer)


def _proof(answer: CheckpointAnswer) -> Iterator[str]:
    """Whether a cheaper choice may have been missed."""
    if answer.untried:
        yield (
            f"{answer.untried:,} other choices with fewer FLOPs ask for less than there is, differ in which of the equal blocks "
            f"they checkpoint, and were not replayed; those that were do not fit ({answer.replayed} replays)."
        )
    elif answer.untried is None:
        yield "choices with fewer FLOPs are too many to count: one of them may fit as well."


def _setting(best: Checkpointed) -> str:
    value = str(best.checkpointing)
    return options("--set", [f"run.checkpointing={value.lower()}"])


def _rows(answer: CheckpointAnswer) -> Iterator[tuple[str, ...]]:
    for each, name in ((answer.best, answer.attention), (answer.every, "  all blocks")):
        if each is not None:
            encoder = each.encoder
            yield (
                name,
                each.words or "none",
                f"{each.more_flops:.1%}",
                format_bytes(encoder.taken_bytes),
                format_bytes(encoder.spare_bytes)
                if encoder.fits
                else f"lacks {format_bytes(encoder.missing_bytes)}",
            )


def rows(report: Fit) -> Iterator[dict[str, Any]]:
    """A row for each answer, figures exact."""
    for answer in report.checkpointing:
        best = answer.best
        yield {
            "vary": "checkpointing",
            "mode": "training",
            "attention": answer.attention,
            "status": answer.status,
            "memory_bytes": report.memory_bytes,
            "fits": None if best is None else str(best.checkpointing).lower(),
            "fits_peak_bytes": best and best.encoder.peak_bytes,
            "fits_allocated_bytes": best and best.encoder.allocated_bytes,
            "fits_reserved_bytes": best and best.encoder.reserved_bytes,
            "fits_spare_bytes": best and best.encoder.spare_bytes,
            "recomputed_flops": best and best.recomputed_flops,
            "message": answer.message,
        }
