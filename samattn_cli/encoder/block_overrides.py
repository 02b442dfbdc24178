"""The rules for what some blocks of a stage have otherwise: each override names blocks, and gives them something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from .model import OverrideConfig
from .slots import Problem
from .tree import Loc

GIVEN = tuple(entry.name for entry in fields(OverrideConfig) if entry.name != "blocks")
"""What an override may give its blocks."""


@dataclass(frozen=True)
class Override:
    """One as a file has it.

    Attributes:
        place: where it stands.
        blocks: those that it names.
        keys: what it gives them.
        is_windowed: whether that is a window.
    """

    place: Loc
    blocks: tuple[int, ...]
    keys: tuple[str, ...]
    is_windowed: bool

    def at(self, position: int) -> Loc:
        """Where a block is named."""
        return (*self.place, "blocks", position)


def problems(
    overrides: Sequence[Override], of_global: Sequence[int], blocks: range, held: str
) -> Iterator[Problem]:
    """What is wrong with the overrides of a stage.

    Args:
        overrides: in the order of the file.
        of_global: the stage's `global_attn_indexes`.
        blocks: those that the stage has.
        held: the same in words.
    """
    given: set[tuple[int, str]] = set()
    for override in overrides:
        yield from _idle(override)
        for position, index in enumerate(override.blocks):
            at = override.at(position)
            if index not in blocks:
                yield at, f"overrides names block {index}, but {held}"
            elif index in override.blocks[:position]:
                yield at, f"overrides names block {index} twice: keep one"
            else:
                yield from ((at, message) for message in _contradictions(override, index, given, of_global))
        given |= {(index, key) for index in override.blocks for key in override.keys}


def _idle(override: Override) -> Iterator[Problem]:
    """One that changes nothing."""
    named = ", ".join(map(str, override.blocks))
    if not override.blocks:
        yield (*override.place, "blocks"), "overrides names no block: name some, or leave it out"
    elif not override.keys:
        several, given = "s" if len(override.blocks) > 1 else "", f"{', '.join(GIVEN[:-1])} or {GIVEN[-1]}"
        yield override.place, f"overrides gives block{several} {named} nothing: give {given}, or leave it out"


def _contradictions(
    override: Override, index: int, given: set[tuple[int, str]], of_global: Sequence[int]
) -> Iterator[str]:
    """What a block has from elsewhere already."""
    for key in override.keys:
        if (index, key) in given:
            yield f"overrides gives block {index} its {key} twice: keep one"
    if override.is_windowed and index in of_global:
        yield f"overrides gives block {index} a window, but global_attn_indexes has it global: keep one of the two"
