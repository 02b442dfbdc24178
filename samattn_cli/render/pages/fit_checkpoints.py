"""Which blocks to checkpoint, as a fit says it: the answer in a sentence for each kernel, and the line that sets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...reports.checkpoints import CheckpointAnswer, Checkpointed
from ...reports.fit import Fit
from ...shell import options
from ...units import format_bytes, format_ms, format_percent
from ..elements import Lines, Section, Table

TITLE = "Blocks to checkpoint in training"
HEADERS = ("", "blocks", "more FLOPs", "takes", "spare")
ON_DEVICE = ("", "blocks", "more FLOPs", "allocated", "reserved")


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
        headers = ON_DEVICE if _is_replayed(report) else HEADERS
        yield Table("What they cost", headers, rows, "", (0, 1))


def _is_replayed(report: Fit) -> bool:
    """Whether the allocator's verdict counts."""
    return any(each.best is not None and each.best.encoder.reserved_bytes for each in report.checkpointing)


def _taken(best: Checkpointed) -> str:
    """What is allocated and reserved, or else live."""
    taken, reserved = format_bytes(best.encoder.taken_bytes), best.encoder.reserved_bytes
    return f"{taken} allocated and {format_bytes(reserved)} reserved" if reserved else taken


def _answer(answer: CheckpointAnswer, report: Fit) -> Iterator[str]:
    best = answer.best
    if best is None:
        yield f"{answer.message}."
        return
    memory, taken = format_bytes(report.memory_bytes), _taken(best)
    if answer.status == "fits as it is":
        yield f"no checkpointing is needed: {taken} of {memory}."
    elif answer.status == "fits":
        what = "all blocks" if best.checkpointing is True else f"blocks {best.words}"
        time = "" if best.recomputed_ms is None else f", {format_ms(best.recomputed_ms)} a step"
        yield f"checkpoint {what}: {format_percent(best.more_flops)} more FLOPs{time}, {taken} of {memory} ({_setting(best)})."
    elif best.encoder.refused:
        yield f"it does not run, whatever the memory. {best.encoder.refused}."
    else:
        yield f"nothing fits: the nearest, with blocks {best.words or 'none'}, lacks {format_bytes(best.encoder.missing_bytes)}."
    yield from _proof(answer)


def _proof(answer: CheckpointAnswer) -> Iterator[str]:
    """Whether no choice has fewer FLOPs; otherwise between which bounds the fewest are."""
    best, least = answer.best, answer.least_more_flops
    if best is None or answer.untried == 0:
        if answer.replayed and answer.status == "fits":
            yield "this choice has the fewest: no choice with fewer FLOPs fits."
        return
    bound = "" if least is None else f"no choice with less than {format_percent(least)} more FLOPs fits. "
    if answer.untried is None:
        number = "the choices with fewer FLOPs than this one are too many to count"
    else:
        choices = "1 choice was" if answer.untried == 1 else f"{answer.untried:,} choices were"
        number = f"{choices} not replayed"
    yield (
        f"{bound}{number}: each requests less than there is, so one of them may fit. None of those that were replayed and have "
        f"fewer FLOPs does ({answer.replayed} replays in all)."
    )


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
                format_percent(each.more_flops),
                format_bytes(encoder.taken_bytes),
                _last(each),
            )


def _last(each: Checkpointed) -> str:
    encoder = each.encoder
    if not encoder.fits:
        return f"lacks {format_bytes(encoder.missing_bytes)}"
    return format_bytes(encoder.reserved_bytes or encoder.spare_bytes)


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
            "least_recomputed_flops": answer.least_flops,
            "message": answer.message,
        }
