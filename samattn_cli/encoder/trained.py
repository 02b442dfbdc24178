"""The key `run.trains`: what a training step changes, as the names of parts and blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import Message, UsageError, did_you_mean
from .numbered import BLOCK, RANGE, ends, numbered, problem_of_range
from .registry import BLOCKS
from .slots import Problem

if TYPE_CHECKING:
    from .model import EncoderConfig

ALL, ADAPTERS = "all", "adapters"
NOTHING = "none"
PATH = ("run", "trains")


def parse_trains(value: str | tuple[str, ...]) -> str:
    """The entries of a list, or of a text with commas, as one text without spaces.

    Raises:
        UsageError: if there is no entry, one is there twice, `none` is there, or `all` is not alone.
    """
    texts = (value,) if isinstance(value, str) else value
    entries = [_lower("".join(entry.split())) for text in texts for entry in text.split(",")]
    if not any(entries):
        raise UsageError(
            "nothing-to-train", "names nothing: use all, adapters, or names such as neck,blocks.8-11"
        )
    if NOTHING in entries:
        raise UsageError(
            "nothing-to-train",
            "a training step changes some weights: for a forward use run.mode=inference, and with run.grad=true if autograd "
            "is on in it",
        )
    if ALL in entries and len(entries) > 1:
        raise UsageError("given-twice", "all includes the others: use all, or leave it out")
    if twice := next((entry for entry in entries if entries.count(entry) > 1), None):
        raise UsageError("given-twice", f"{twice!r} is given twice: keep one")
    return ",".join(entries)


def _lower(entry: str) -> str:
    return entry.lower() if entry.lower() in {ALL, ADAPTERS, NOTHING} else entry


def trains_all(trains: str) -> bool:
    """Whether no weight is frozen that a model does not freeze by itself."""
    return trains == ALL


def trains_adapters(trains: str) -> bool:
    """Whether adapters train in blocks that do not."""
    return ADAPTERS in trains.split(",")


def trained_parts(trains: str, names: Sequence[str]) -> frozenset[str]:
    """Those of the parts and blocks called `names` whose weights train, but for those that a model freezes by itself."""
    return frozenset(name for entry in trains.split(",") for name in _named(entry, names))


def _named(entry: str, names: Sequence[str]) -> Sequence[str]:
    """The parts that an entry names; () if there are none."""
    if entry == ALL or entry in names:
        return names if entry == ALL else (entry,)
    if match := RANGE.fullmatch(entry):
        first, last = ends(match)
        within = range(first, last + 1)
        parts = numbered(match["container"], names)
        return [name for name in parts if int(name.rpartition(".")[2]) in within]
    return numbered(entry, names)


def problems_of_trains(config: EncoderConfig) -> Iterator[Problem]:
    """What is wrong with `run.trains` for the parts that an encoder has."""
    if trains_all(config.run.trains):
        return
    names = [part.name for part in config.plan]
    for entry in config.run.trains.split(","):
        problem = _problem_of_adapters(config) if entry == ADAPTERS else _problem(entry, names)
        if problem is not None:
            yield PATH, problem
            return
    if trains_adapters(config.run.trains):
        return
    trained = [part.name for part in config.plan if part.has_weights and part.name in config.trained]
    others = [part.name for part in config.plan if part.has_weights and part.name not in config.unread]
    if not trained:
        what = f"{config.run.trains} has no weights: use other parts, such as {others[-1]}"
        yield PATH, Message("nothing-to-train", what)
    elif config.unread.issuperset(trained):
        what = (
            f"{config.run.trains} gets no gradient, because nothing reads what {trained[-1]} outputs: "
            f"use other parts, such as {others[-1]}"
        )
        yield PATH, Message("nothing-to-train", what)


def _problem_of_adapters(config: EncoderConfig) -> Message | None:
    if any(BLOCKS[stage.block].adapters for stage in config.stages):
        return None
    adapted = " or ".join(word for word, block in BLOCKS.items() if block.adapters)
    text = (
        f"run.trains adapters needs {adapted} blocks, and this encoder has none: use all, or names of parts"
    )
    return Message("nothing-to-train", text)


def _problem(entry: str, names: Sequence[str]) -> Message | None:
    """What is wrong with an entry that is not a word."""
    match = RANGE.fullmatch(entry)
    parts = numbered(match["container"], names) if match else []
    if match and parts:
        return problem_of_range("run.trains", entry, match, parts)
    if _named(entry, names):
        return None
    known = [*dict.fromkeys(name.rpartition(".")[0] or name for name in names), ALL, ADAPTERS]
    hint = did_you_mean(match["container"] if match else entry, known)
    return Message(
        "unknown-part", f"run.trains: {entry!r} is not a part of this encoder{hint or _parts(names)}"
    )


def _parts(names: Sequence[str]) -> str:
    """The parts that there are, to end a message with."""
    parts = [name for name in names if "." not in name]
    blocks = numbered(BLOCK, names)
    return f": it has {', '.join(parts)} and {blocks[0]}-{len(blocks) - 1}"
