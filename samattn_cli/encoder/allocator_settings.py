"""The settings of torch's CUDA caching allocator, as PYTORCH_CUDA_ALLOC_CONF has them: those that are modelled.

Source: c10/core/AllocatorConfig.cpp of PyTorch 2.14.1. `tape/allocator.py` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError, did_you_mean
from ..patterns import pattern

LEAST_SPLIT_MB = 20
"""torch refuses a smaller max_split_size_mb."""

WITHOUT_EFFECT = "garbage_collection_threshold"
"""It acts only after torch.cuda.set_per_process_memory_fraction, which no run here calls."""

SEPARATOR = pattern(r",(?![^\[]*\])")
"""A comma, but none in the list that torch takes for roundup_power2_divisions."""

EXPANDABLE = "expandable_segments"
KEYS = ("max_split_size_mb", "roundup_power2_divisions", EXPANDABLE, WITHOUT_EFFECT)

REFUSED = {"backend": "only torch's native allocator is modelled: leave it out"}
"""Settings that change what is allocated or reserved in ways that are not modelled."""


@dataclass(frozen=True)
class AllocatorSettings:
    """What the rules of the allocator depend on.

    Attributes:
        divisions: roundup_power2_divisions; 0: not set.
        max_split_mb: max_split_size_mb; None: no limit.
        is_expandable: expandable_segments.
    """

    divisions: int = 0
    max_split_mb: int | None = None
    is_expandable: bool = False


def settings_of(text: str) -> AllocatorSettings:
    """The settings in a text that `parse_settings` has taken."""
    given = dict(_pairs(text))
    divisions, most = given.get("roundup_power2_divisions", "0"), given.get("max_split_size_mb")
    is_expandable = given.get(EXPANDABLE, "False") == "True"
    return AllocatorSettings(int(divisions), None if most is None else int(most), is_expandable)


def parse_settings(text: str) -> str:
    """The text without spaces, in the order of its settings.

    Raises:
        UsageError: if a setting is unknown, is not modelled, or has a value that torch refuses.
    """
    seen: set[str] = set()
    for key, value in _pairs(text):
        if key in seen:
            raise UsageError("given-twice", f"{key} is given twice: keep one")
        seen.add(key)
        _check(key, value)
    return ",".join(f"{key}:{value}" for key, value in _pairs(text))


def _pairs(text: str) -> list[tuple[str, str]]:
    entries = [entry.partition(":") for entry in SEPARATOR.split("".join(text.split())) if entry]
    return [(key, value) for key, _, value in entries]


def _check(key: str, value: str) -> None:
    if key == "backend" and value == "native":
        return
    if key in REFUSED and value.lower() != "false":
        raise UsageError("allocator-setting-not-modelled", f"{key}: {REFUSED[key]}")
    if key in REFUSED:
        return
    if key not in KEYS:
        hint = did_you_mean(key, KEYS) or f": {', '.join(KEYS)} are modelled"
        raise UsageError("unknown-allocator-setting", f"no setting {key!r} is modelled{hint}")
    if problem := _problem(key, value):
        raise UsageError("allocator-setting-out-of-range", f"{key}:{value} must be {problem}")


def _problem(key: str, value: str) -> str:
    """What a value must be, if it is not that."""
    if key == EXPANDABLE:
        return "" if value in {"True", "False"} else "True or False"
    if key == WITHOUT_EFFECT:
        return "" if _is_share(value) else "a number between 0 and 1, such as 0.8"
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else -1  # noqa: PLR2004
    if key == "max_split_size_mb":
        return "" if number >= LEAST_SPLIT_MB else f"a whole number of MiB from {LEAST_SPLIT_MB}"
    return "" if number > 0 and number & (number - 1) == 0 else "a power of 2 for all sizes, such as 4"


def _is_share(value: str) -> bool:
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False
