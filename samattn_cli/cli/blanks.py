"""Words of the command line that are blank, as an unset variable of a shell makes them: no command takes one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..errors import Message
from ..patterns import pattern
from .command import UsageError

END = pattern(r"(?<!\.)\. |; (?:default|overrides|may repeat|needed)")
"""Where a help text goes on to other things than the values: at the next sentence, or at what the option does to a config."""


def blank_value(self: Any, ctx: Any, words: Sequence[str]) -> Message | None:
    """What is wrong with the first blank value of a command line, and what would be right.

    Options with a few words to choose from are left to Typer, which lists them.

    Args:
        self: a command.
        ctx: its context.
        words: its arguments.
    """
    given: dict[str, Any] = {}
    others: list[str] = []
    with suppress(UsageError):  # of which the parser tells
        given, others, _ = self.make_parser(ctx).parse_args(list(words))
    if _has_blank(others):
        return Message("extra-argument", "a word after the arguments is empty (''): leave it out")
    blank = (param for param in self.params if _has_blank(given.get(param.name)))
    return next((_message(param) for param in blank if not getattr(param.type, "choices", ())), None)


def _has_blank(value: Any) -> bool:
    """Whether a text that was given for a parameter is blank."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(text, str) and not text.strip() for text in texts)


def _message(param: Any) -> Message:
    """That a parameter has a blank value, and what its help says of the values."""
    if param.param_type_name == "argument":
        name = name_of(param)
        return Message("empty-name", f"{name} '': is empty; give {name}: {values_of(param)}")
    option = max(param.opts, key=len)
    return Message("empty-value", f"{option} '': is empty; give {option} {param.metavar}: {values_of(param)}")


def name_of(argument: Any) -> str:
    """The name of an argument, as the help has it: "CONFIG"."""
    return str(argument.metavar).strip("[]").removesuffix("...").strip("[]")


def values_of(param: Any) -> str:
    """What the help of an argument or option says of its values."""
    return END.split(param.help or "", maxsplit=1)[0].rstrip(".")
