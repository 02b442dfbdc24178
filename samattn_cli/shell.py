"""Commands that samattn prints, quoted for a shell, so that they run when they are copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

PROGRAM = "samattn"


def line(*words: str) -> str:
    """Words quoted for a shell: ``("git", "-C", "my folder")`` -> "git -C 'my folder'"."""
    return shlex.join(words)


def command(*words: str) -> str:
    """A samattn command: ``("analyze", "my encoder.yaml")`` -> "samattn analyze 'my encoder.yaml'"."""
    return line(PROGRAM, *words)


def options(flag: str, values: Iterable[str]) -> str:
    """An option repeated for each value: ``("--set", ["a=1", "b=[1, 2]"])`` -> "--set a=1 --set 'b=[1, 2]'"."""
    return line(*(word for value in values for word in (flag, value)))
