"""The key `run.checkpointing`: the blocks of which a training step keeps only the input.

Its value is true, false, or a text with entries such as "global,blocks.0-3"; a list of blocks becomes such a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import Message, UsageError, did_you_mean
from ..patterns import pattern
from .implementations import implementation_of
from .numbered import BLOCK, RANGE, ends, problem_of_range
from .registry import REFERENCE
from .slots import Problem

if TYPE_CHECKING:
    from .model import EncoderConfig
    from .plan import LayerConfig

Checkpointing = bool | str

BLOCKS = "blocks"
PATH = ("run", "checkpointing")
ALONE = {"all": True, "blocks": True, "true": True, "none": False, "false": False}
"""Words that say it of all blocks, and what they mean."""
WORDS: dict[str, Callable[[LayerConfig], bool]] = {
    "global": lambda layer: layer.is_global,
    "window": lambda layer: layer.is_windowed,
}
"""Words that name some blocks."""
OTHER_WORDS = {
    "windowed": "window",
    "windows": "window",
    "every other": "every 2nd",
    "every second": "every 2nd",
}
NUMBERS = pattern(r"(blocks\.)?(?P<first>\d{1,9})(-(?P<last>\d{1,9}))?")
EVERY = pattern(r"every[ _-]?(?P<step>\d{1,9})(st|nd|rd|th)?")
EXAMPLES = "all, none, global, window, blocks.2, blocks.5-7 or every 2nd"


def parse_checkpointing(value: bool | str | tuple[int | str, ...]) -> Checkpointing:
    """True (all blocks), False (none), or the entries of a list, or of a text with commas, as one text.

    Blocks are in order, and those that follow each other are one range, so that equal choices are equal texts.

    Raises:
        UsageError: if there is no entry, one is no choice of blocks or is there twice, or a word for all is not alone.
    """
    if isinstance(value, bool):
        return value
    items = (value,) if isinstance(value, str) else value
    entries = [_entry(part) for item in items for part in str(item).split(",")]
    if not any(entries):
        raise UsageError("no-blocks", f"names no block: use {EXAMPLES}")
    if alone := next((entry for entry in entries if entry in ALONE), ""):
        if len(entries) > 1:
            raise UsageError("given-twice", f"{alone} is about every block: use it alone, or leave it out")
        return ALONE[alone]
    for entry in entries:
        _check(entry)
    if twice := next((entry for entry in entries if entries.count(entry) > 1), None):
        raise UsageError("given-twice", f"{twice!r} is given twice: keep one")
    words = sorted(entry for entry in entries if not NUMBERS.fullmatch(entry))
    return ",".join([*words, *_ranges(entries)])


def _entry(text: str) -> str:
    """An entry in its one spelling."""
    entry = " ".join(text.lower().split())
    entry = OTHER_WORDS.get(entry, entry)
    if match := EVERY.fullmatch(entry):
        return f"every {ordinal(int(match['step']))}"
    return entry


def ordinal(number: int) -> str:
    """A number as "2nd"."""
    last = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def _check(entry: str) -> None:
    every, some = EVERY.fullmatch(entry), NUMBERS.fullmatch(entry)
    if every and int(every["step"]) < 2:  # noqa: PLR2004 - every second block is the most that is not every block
        raise UsageError(
            "out-of-range", f"{entry!r} does not choose blocks: use every 2nd or more, all or none"
        )
    if some and ends(some)[1] < ends(some)[0]:
        last, first = ends(some)
        raise UsageError("out-of-range", f"{entry!r} ends before it begins: use {range_of(first, last)}")
    if not every and not some and entry not in WORDS:
        hint = did_you_mean(entry, [*ALONE, *WORDS, "every 2nd"])
        raise UsageError("unknown-value", f"{entry!r} is not a choice of blocks: use {EXAMPLES}{hint}")


def _ranges(entries: Iterable[str]) -> Iterator[str]:
    """The numbered blocks in order; ranges that meet or overlap are one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ends(match) for match in map(NUMBERS.fullmatch, entries) if match):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    yield from (range_of(*each) for each in merged)


def range_of(first: int, last: int) -> str:
    """Blocks that follow each other, as one entry."""
    return f"{BLOCK}.{first}" if first == last else f"{BLOCK}.{first}-{last}"


def checkpointing_of(blocks: Sequence[int], depth: int) -> Checkpointing:
    """The value that checkpoints these blocks of an encoder with so many."""
    if len(blocks) == depth:
        return True
    return parse_checkpointing(tuple(blocks)) if blocks else False


def checkpointed(config: EncoderConfig) -> frozenset[str]:
    """The names of the blocks that are checkpointed."""
    if "blocks" not in _kinds(config):
        return frozenset()
    checkpointing = config.run.checkpointing
    if not checkpointing:
        return frozenset()
    if isinstance(checkpointing, bool):
        return frozenset(layer.name for layer in config.layers)
    entries = checkpointing.split(",")
    return frozenset(layer.name for entry in entries for layer in _selected(entry, config.layers))


def checkpointed_stages(config: EncoderConfig) -> tuple[tuple[str, ...], ...]:
    """The names of the parts of each stage that is checkpointed as a whole: its blocks, and the transition that ends it.

    In "later_stages" it begins the next one.
    """
    kinds = _kinds(config)
    if not config.run.checkpointing or kinds == (BLOCKS,):
        return ()
    stages: list[list[str]] = [[]]
    for part in config.plan:
        slot = getattr(part, "slot", BLOCKS)
        begins = slot == "transitions" if "later_stages" in kinds else part.name in begin_stages(config)
        if stages[-1] and begins:
            stages.append([])
        if slot in {BLOCKS, "transitions", "endings"}:
            stages[-1].append(part.name)
        if slot == "transitions" and "stages" in kinds:
            stages.append([])
    return tuple(map(tuple, stages))


def begin_stages(config: EncoderConfig) -> frozenset[str]:
    """The names of the first blocks of stages."""
    firsts = {layer.stage_index: layer.name for layer in reversed(config.layers)}
    return frozenset(firsts.values())


def _kinds(config: EncoderConfig) -> tuple[str, ...]:
    run = implementation_of(config)
    return (BLOCKS,) if run is None else run.model.checkpoints


def _selected(entry: str, layers: Sequence[LayerConfig]) -> Iterator[LayerConfig]:
    """The blocks that an entry selects."""
    if every := EVERY.fullmatch(entry):
        return (layer for layer in layers if (layer.index + 1) % int(every["step"]) == 0)
    if match := RANGE.fullmatch(entry):
        first, last = ends(match)
        return (layer for layer in layers if first <= layer.index <= last)
    return filter(WORDS[entry], layers)


def problems_of_checkpointing(config: EncoderConfig) -> Iterator[Problem]:
    """What is wrong with `run.checkpointing` for the blocks and the implementation of an encoder."""
    if isinstance(config.run.checkpointing, bool):
        return
    if config.implementation != REFERENCE:
        what = (
            f"run.checkpointing {config.run.checkpointing}: {config.implementation} checkpoints all blocks or none: "
            f"use true or false, or implementation {REFERENCE}"
        )
        yield PATH, Message("unsupported-checkpointing", what)
        return
    names = [layer.name for layer in config.layers]
    for entry in config.run.checkpointing.split(","):
        match = RANGE.fullmatch(entry)
        if match and (problem := problem_of_range("run.checkpointing", entry, match, names)):
            yield PATH, problem


def words_without_blocks(config: EncoderConfig) -> Iterator[Problem]:
    """Words of `run.checkpointing` that select no block.

    This is an error in a config as it is written. If a study changes where blocks attend, such a word may select nothing.
    """
    choice = config.run.checkpointing
    for entry in () if isinstance(choice, bool) else choice.split(","):
        if not RANGE.fullmatch(entry) and not any(True for _ in _selected(entry, config.layers)):
            yield PATH, _selects_nothing(entry, len(config.layers))


def _selects_nothing(entry: str, depth: int) -> Message:
    has = range_of(0, depth - 1)
    if entry in WORDS:
        kind, other = ("global", "window") if entry == "global" else ("windowed", "global")
        why = f"no block of this encoder is {kind}: use all, {other}, or some of {has}"
    else:
        why = f"this encoder has only {has}: use a smaller step, all or none"
    return Message("no-blocks", f"run.checkpointing {entry}: {why}")


def spelled(blocks: Sequence[int], layers: Sequence[LayerConfig]) -> Checkpointing:
    """The shortest value that chooses these blocks: a word where it can be one, or a word and the other blocks."""
    left = set(blocks)
    values = [checkpointing_of(blocks, len(layers))]
    for word, holds in WORDS.items():
        named = {layer.index for layer in layers if holds(layer)}
        if named and named <= left and not isinstance(values[0], bool):
            values.append(parse_checkpointing((word, *sorted(left - named))))
    return min(values, key=lambda value: len(str(value)))
