"""The families of encoders, a folder each in `families/`; a word of a config leads to the family that declares it.

This is the one look-up of families: nothing lists them, and nothing below `families/` imports one by its name. See
`families/README.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .slots import Block, Family, Part, PatchEmbed, Transition

_FOLDER = Path(__file__).parent.parent / "families"
_PACKAGE = f"{__package__.rpartition('.')[0]}.families"

NONE = "none"
"""The word for a slot that is empty."""

SLOTS = ("blocks", "patch_embeds", "pos_embeds", "transitions", "necks")

_FAMILIES: dict[str, Family] = {
    folder.parent.name: import_module(f"{_PACKAGE}.{folder.parent.name}.words").FAMILY
    for folder in sorted(_FOLDER.glob("*/words.py"))
}


def _words(slot: str) -> Iterator[tuple[str, Any]]:
    for family in _FAMILIES.values():
        yield from getattr(family, slot).items()


BLOCKS: dict[str, Block] = dict(_words("blocks"))
PATCH_EMBEDS: dict[str, PatchEmbed] = dict(_words("patch_embeds"))
POS_EMBEDS: dict[str, Part] = dict(_words("pos_embeds"))
TRANSITIONS: dict[str, Transition] = dict(_words("transitions"))
NECKS: dict[str, Part] = dict(_words("necks"))


def code_for(module: str, slot: str, word: str) -> Any:
    """What stands for a word of a slot in a family's `module`: "tape" (passes over the Tape) or "stack" (torch modules).

    The module has a dictionary for each slot that it fills, such as ``BLOCKS = {"vit": block}``.
    """
    return getattr(module_for(module, slot, word), slot.upper())[word]


def module_for(module: str, slot: str, word: str) -> ModuleType:
    """The `module` of the family that declares a word of a slot."""
    family = next(name for name, family in _FAMILIES.items() if word in getattr(family, slot))
    return import_module(f"{_PACKAGE}.{family}.{module}")


def modules(module: str) -> Iterator[ModuleType]:
    """The `module` of each family that has one, such as "importing", in the order of names."""
    for name in _FAMILIES:
        if (_FOLDER / name / f"{module}.py").exists():
            yield import_module(f"{_PACKAGE}.{name}.{module}")


def summaries(slot: dict[str, Any]) -> str:
    """The words of a slot with what they are, for a key's description."""
    return " ".join(f"{word}: {held.summary}" for word, held in slot.items())
