"""The rules for `overrides`: each entry names blocks of a stage and sets some of their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from ..errors import Message
from ..records import dataclass
from .model import OverrideConfig
from .placement import GLOBAL_VALUES
from .slots import Problem
from .tree import Loc

KEYS = tuple(entry.name for entry in fields(OverrideConfig) if entry.name != "blocks")
"""The keys that an override may set."""


@dataclass(frozen=True)
class BlockOverride:
    """One entry of `overrides`, as a file has it.

    Attributes:
        place: its path of keys.
        blocks: the indexes of its blocks.
        keys: the keys that it sets.
        is_windowed: whether it sets a window.
    """

    place: Loc
    blocks: tuple[int, ...]
    keys: tuple[str, ...]
    is_windowed: bool

    def at(self, position: int) -> Loc:
        """The path of one of its block indexes."""
        return (*self.place, "blocks", position)


def problems(
    overrides: Sequence[BlockOverride], global_indexes: Sequence[int], blocks: range, stage_has: str
) -> Iterator[Problem]:
    """What is wrong with the overrides of a stage.

    Args:
        overrides: in the order of the file.
        global_indexes: the stage's `global_attn_indexes`.
        blocks: the indexes of the stage's blocks.
        stage_has: the same as a sentence, for messages.
    """
    already_set: set[tuple[int, str]] = set()
    for override in overrides:
        yield from _without_effect(override)
        for position, index in enumerate(override.blocks):
            at = override.at(position)
            if index not in blocks:
                yield at, Message("no-such-block", f"overrides names block {index}, but {stage_has}")
            elif index in override.blocks[:position]:
                yield at, Message("duplicate-block", f"overrides names block {index} twice: keep one")
            else:
                conflicts = _conflicts(override, index, already_set, global_indexes)
                yield from ((at, message) for message in conflicts)
        already_set |= {(index, what_it_says(key)) for index in override.blocks for key in override.keys}


def _without_effect(override: BlockOverride) -> Iterator[Problem]:
    """An override that changes nothing."""
    if not override.blocks:
        message = Message(
            "override-without-effect", "overrides names no blocks: name some, or remove the entry"
        )
        yield (*override.place, "blocks"), message
    elif not override.keys:
        which = f"block{'s' if len(override.blocks) > 1 else ''} {', '.join(map(str, override.blocks))}"
        keys = f"{', '.join(KEYS[:-1])} or {KEYS[-1]}"
        yield (
            override.place,
            Message(
                "override-without-effect",
                f"overrides changes nothing for {which}: set {keys}, or remove the entry",
            ),
        )


def what_it_says(key: str) -> str:
    """What a key of an override sets: several keys say where its blocks attend."""
    return "windows" if key in GLOBAL_VALUES else key


def _conflicts(
    override: BlockOverride, index: int, already_set: set[tuple[int, str]], global_indexes: Sequence[int]
) -> Iterator[Message]:
    """What contradicts an earlier override of the block, or `global_attn_indexes`."""
    for key in override.keys:
        if (index, what_it_says(key)) in already_set:
            yield Message("duplicate-override", f"overrides sets {key} of block {index} twice: keep one")
    if override.is_windowed and index in global_indexes:
        yield Message(
            "override-of-global-block",
            f"overrides sets a window for block {index}, but global_attn_indexes makes it global: keep one of the two",
        )
