"""Finds the families of encoders, each a folder in `families/`, and the family that declares a word of a config.

A family is imported when one of its words is looked up, so that start-up does not grow with the families. Which words
and libraries each has is in `families/index.py`, which a test keeps true. `outside` adds families that are kept
elsewhere. See `families/README.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from ..errors import FamilyError
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


class Home:
    """A family and the place of its files.

    Attributes:
        place: its name in messages: a file, or the name of a module.
        module: returns its code for "tape", "stack" or "importing"; None if it has no such code.
        words: the words of each slot.
        libraries: the libraries whose models run its encoders.
        files: its file or folder; None if it is part of the package.
        origin: how another process can add it, see `outside.add_again`; () if it is part of the package.
    """

    def __init__(
        self,
        place: str,
        family: Family | None,
        module: Callable[[str], Any],
        files: Path | None = None,
        origin: tuple[str, ...] = (),
        index: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Take a family, or what the index says of a family that is imported when it is needed."""
        self.place, self.module, self.files, self.origin = place, module, files, origin
        self._known, self._index = family, index

    @cached_property
    def family(self) -> Family:
        """Its words, and what they mean."""
        known: Family = self._known or self.module("words").FAMILY
        return known

    def words(self, slot: str) -> tuple[str, ...]:
        """The words of a slot."""
        return tuple(getattr(self.family, slot)) if self._index is None else self._index.get(slot, ())

    def runs_with(self, library: str) -> bool:
        """Whether a model of a library runs encoders of it."""
        if self._index is None:
            return any(each.library == library for each in self.family.implementations)
        return library in self._index.get("libraries", ())


@cache
def _built_in_module(name: str, module: str) -> Any:
    if not (_FOLDER / name / f"{module}.py").exists():
        return None
    return import_module(f"{_PACKAGE}.{name}.{module}")


def _built_in(name: str) -> Home:
    module = partial(_built_in_module, name)
    return Home(f"{_PACKAGE}.{name}", None, module, index=INDEX.get(name))


def index_of(family: Family) -> dict[str, tuple[str, ...]]:
    """What the index says of a family: its words, and the libraries that run it; without what it does not have."""
    libraries = tuple(dict.fromkeys(each.library for each in family.implementations))
    words = {slot: tuple(getattr(family, slot)) for slot in SLOTS}
    return {name: values for name, values in {**words, "libraries": libraries}.items() if values}


INDEX: Mapping[str, Mapping[str, tuple[str, ...]]] = json.loads((_FOLDER / "index.json").read_text("utf-8"))
"""The words of each family of the package. A family that is not in it yet is imported at once."""

_HOMES: list[Home] = [_built_in(path.parent.name) for path in sorted(_FOLDER.glob("*/words.py"))]

Declared = TypeVar("Declared")


class Words(Mapping[str, Declared]):
    """The words of a slot, each with what its family declares; the family is imported when the word is looked up."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self._homes: dict[str, Home] = {}
        self._declared: dict[str, Declared] = {}

    def set(self, known: tuple[Home, ...]) -> None:
        """Replace the words by those of some families."""
        self._homes = {word: home for home in known for word in home.words(self.slot)}
        self._declared.clear()

    def home(self, word: str) -> Home:
        """The family that declares a word."""
        return self._homes[word]

    def __getitem__(self, word: str) -> Declared:
        if word not in self._declared:
            self._declared[word] = getattr(self._homes[word].family, self.slot)[word]
        return self._declared[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, word: object) -> bool:
        return word in self._homes


BLOCKS: Words[Block] = Words("blocks")
PATCH_EMBEDS: Words[PatchEmbed] = Words("patch_embeds")
POS_EMBEDS: Words[Part] = Words("pos_embeds")
TRANSITIONS: Words[Transition] = Words("transitions")
NECKS: Words[Part] = Words("necks")
"""The words of each slot. A family from outside adds to them, but never while a config is read."""

_WORDS: dict[str, Words[Any]] = {
    words.slot: words for words in (BLOCKS, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS, NECKS)
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
    for words in _WORDS.values():
        words.set(known)
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
    return _WORDS[slot].home(word)


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


def summaries(slot: Mapping[str, Any]) -> str:
    """The words of a slot with their summaries, for the description of a key."""
    return " ".join(f"{word}: {entry.summary}" for word, entry in slot.items())


set_homes(tuple(_HOMES))
