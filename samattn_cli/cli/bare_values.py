"""Values without their options, such as `samattn fit vit_h 2048 24GB`: which options were meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..encoder.presets import devices
from ..figures import ALIASES, FIGURES
from ..shell import options
from ..spelling import known_as

EXTRA = re.compile(r"extra arguments?(?:\(s\))? \((.+)\)")
SIZE = re.compile(r"\d+(?:x\d+)*")
AMOUNT = re.compile(r"\d+(?:\.\d+)?[KMGT]i?B", re.IGNORECASE)


def bare_values(self: Any, problem: str) -> str:
    """How to give the extra words of a usage error by options of a command; "" if one of them has none."""
    found = EXTRA.search(problem)
    known = {name for param in self.params for name in param.opts}
    words = found[1].split() if found else []
    written = [next(_written(word, known), "") for word in words]
    return f"write {' '.join(written)}" if written and all(written) else ""


def _written(word: str, known: set[str]) -> Iterator[str]:
    """The options of a command that a word may be the value of, with it."""
    device = known_as(word, devices())
    metric = known_as(word, FIGURES, ALIASES)
    for option, value in (
        ("--image-size", word if SIZE.fullmatch(word) else None),
        ("--resolutions", word if SIZE.fullmatch(word) else None),
        ("--memory", word if AMOUNT.fullmatch(word) else None),
        ("--device", device),
        ("--metric", metric),
    ):
        if value is not None and option in known:
            yield options(option, [value])
