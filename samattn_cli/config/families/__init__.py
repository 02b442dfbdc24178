"""The families of encoders, a file each; a word of a config leads to the family that declares it.

A new family is a file here, one of the same name in `cost/` and one in `nn/`; nothing lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ..slots import Block, Family, Part, PatchEmbed, Transition

NONE = "none"
"""The word for a slot that is empty."""

SLOTS = ("blocks", "patch_embeds", "pos_embeds", "transitions", "necks")

_FAMILIES: dict[str, Family] = {
    name: import_module(f"{__name__}.{name}").FAMILY
    for name in sorted(m.name for m in iter_modules(__path__))
}


def _words(slot: str) -> Iterator[tuple[str, Any]]:
    for family in _FAMILIES.values():
        yield from getattr(family, slot).items()


BLOCKS: dict[str, Block] = dict(_words("blocks"))
PATCH_EMBEDS: dict[str, PatchEmbed] = dict(_words("patch_embeds"))
POS_EMBEDS: dict[str, Part] = dict(_words("pos_embeds"))
TRANSITIONS: dict[str, Transition] = dict(_words("transitions"))
NECKS: dict[str, Part] = dict(_words("necks"))


def code_for(package: str, slot: str, word: str) -> Any:
    """What stands for a word of a slot in `package` (that of the Tape's passes, or of the real stack's modules).

    A family's module there has a dictionary for each slot that it fills, such as ``BLOCKS = {"vit": block}``.
    """
    return getattr(module_for(package, slot, word), slot.upper())[word]


def module_for(package: str, slot: str, word: str) -> ModuleType:
    """The module of `package` that stands for the family that declares a word of a slot."""
    family = next(name for name, family in _FAMILIES.items() if word in getattr(family, slot))
    return import_module(f"{package}.{family}")


def told(slot: dict[str, Any]) -> str:
    """The words of a slot with what they are, for a key's description."""
    return " ".join(f"{word}: {held.summary}" for word, held in slot.items())
