"""Finds the families of encoders, each a folder in `families/`, and the family that declares a word of a config.

Families are not listed anywhere, and no module below `families/` imports one by name. `outside` adds families that are
kept elsewhere. See `families/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import FamilyError
from ..records import dataclass
from .keys import words_changed
from .slots import Block, Family, Part, PatchEmbed, Transition

_FOLDER = Path(__file__).parent.parent / "families"
_PACKAGE = f"{__package__.rpartition('.')[0]}.families"

NONE = "none"
"""The word for an empty slot."""

REFERENCE = "reference"
"""The word of `implementation` for the code of the model's authors."""

SLOTS: dict[str, type] = {
    "blocks": Block,
    "patch_embeds": PatchEmbed,
    "pos_embeds": Part,
    "transitions": Transition,
    "necks": Part,
}
"""The slots of a family, and the class of the declarations in each."""

WORD = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Home:
    """A family and the place of its files.

    Attributes:
        place: its name in messages: a file, or the name of a module.
        family: its words.
        module: returns its code for "tape", "stack" or "importing"; None if it has no such code.
        files: its file or folder; None if it is part of the package.
        origin: how another process can add it, see `outside.add_again`; () if it is part of the package.
    """

    place: str
    family: Family
    module: Callable[[str], Any]
    files: Path | None = None
    origin: tuple[str, ...] = ()


@cache
def _built_in_module(name: str, module: str) -> Any:
    if not (_FOLDER / name / f"{module}.py").exists():
        return None
    return import_module(f"{_PACKAGE}.{name}.{module}")


def _built_in(name: str) -> Home:
    module = partial(_built_in_module, name)
    return Home(f"{_PACKAGE}.{name}", module("words").FAMILY, module)


_HOMES: list[Home] = [_built_in(path.parent.name) for path in sorted(_FOLDER.glob("*/words.py"))]

BLOCKS: dict[str, Block] = {}
PATCH_EMBEDS: dict[str, PatchEmbed] = {}
POS_EMBEDS: dict[str, Part] = {}
TRANSITIONS: dict[str, Transition] = {}
NECKS: dict[str, Part] = {}
"""The words of each slot. A family from outside adds to them, but never while a config is read."""

_WORDS: dict[str, dict[str, Any]] = {
    "blocks": BLOCKS,
    "patch_embeds": PATCH_EMBEDS,
    "pos_embeds": POS_EMBEDS,
    "transitions": TRANSITIONS,
    "necks": NECKS,
}
_VERSIONS = count()
_version = next(_VERSIONS)


def version() -> int:
    """A number that changes when the words change: whatever depends on the words may be cached while it is the same."""
    return _version


def homes() -> tuple[Home, ...]:
    """All families, those of the package first."""
    return tuple(_HOMES)


def add(home: Home) -> None:
    """Add a family from outside the package.

    Raises:
        FamilyError: if a declaration is wrong, or another family has one of its words.
    """
    check(home)
    set_homes((*_HOMES, home))


def set_homes(known: tuple[Home, ...]) -> None:
    """Replace all families by these; for `add`, and for tests, which remove the families that they added."""
    global _version  # noqa: PLW0603 - it counts the changes of the dictionaries above
    _HOMES[:] = known
    for slot, words in _WORDS.items():
        words.clear()
        for home in known:
            words.update(getattr(home.family, slot))
    _version = next(_VERSIONS)
    words_changed()


def check(home: Home) -> None:
    """Check the declarations of a family, and that no other family has its words.

    Raises:
        FamilyError: if something is wrong.
    """
    for slot, kind in SLOTS.items():
        words = getattr(home.family, slot)
        if not isinstance(words, dict):
            message = f"{home.place}: FAMILY.{slot} must be a dictionary, not {type(words).__name__}"
            raise FamilyError("family-bad-word", message)
        for word, declared in words.items():
            entry = f"{home.place}: FAMILY.{slot}[{word!r}]"
            if not isinstance(word, str) or not WORD.fullmatch(word) or word == NONE:
                rule = "a word must begin with a lower-case letter, contain only lower-case letters, digits and underscores"
                raise FamilyError("family-bad-word", f"{entry}: {rule}, and must not be 'none'")
            if not isinstance(declared, kind):
                message = f"{entry} must be a {kind.__name__}, not {type(declared).__name__}"
                raise FamilyError("family-bad-word", message)
            if word in _WORDS[slot]:
                message = f"{entry}: {_home_of(slot, word).place} already has the word {word}: choose another"
                raise FamilyError("family-word-taken", message)


def _home_of(slot: str, word: str) -> Home:
    return next(home for home in _HOMES if word in getattr(home.family, slot))


def code_for(module: str, slot: str, word: str) -> Any:
    """The code for a word of a slot, in the family's `module`: "tape" (passes over the Tape) or "stack" (torch modules).

    The module has a dictionary for each of its slots, such as ``BLOCKS = {"vit": block}``.

    Raises:
        FamilyError: if a family from outside has no code for its word.
    """
    words = getattr(module_for(module, slot, word), slot.upper(), {})
    if word not in words:
        entry = f"{slot.upper()}[{word!r}]"
        message = (
            f"{_home_of(slot, word).place}: the word {word} has no code: add {entry} to the family's {module}"
        )
        raise FamilyError("family-without-code", message)
    return words[word]


def module_for(module: str, slot: str, word: str) -> Any:
    """The `module` of the family that declares a word of a slot; None if the family has no such module."""
    return _home_of(slot, word).module(module)


def modules(module: str) -> Iterator[Any]:
    """The `module` of each family that has one, such as "importing", in the order of the families."""
    every = (home.module(module) for home in _HOMES)
    return (each for each in every if each is not None)


def summaries(slot: dict[str, Any]) -> str:
    """The words of a slot with their summaries, for the description of a key."""
    return " ".join(f"{word}: {entry.summary}" for word, entry in slot.items())


set_homes(tuple(_HOMES))
