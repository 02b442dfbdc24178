"""Commands that samattn prints, as a shell takes them: what a person copies must run as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

PROGRAM = "samattn"


def line(*words: str) -> str:
    """Words as a shell takes them: ``("git", "-C", "my folder")`` -> "git -C 'my folder'"."""
    return shlex.join(words)


def command(*words: str) -> str:
    """A call of samattn: ``("analyze", "my encoder.yaml")`` -> "samattn analyze 'my encoder.yaml'"."""
    return line(PROGRAM, *words)


def options(flag: str, values: Iterable[str]) -> str:
    """An option that is given several times: ``("--set", ["a=1", "b=[1, 2]"])`` -> "--set a=1 --set 'b=[1, 2]'"."""
    return line(*(word for value in values for word in (flag, value)))
