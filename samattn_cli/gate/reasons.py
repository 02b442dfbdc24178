"""Why something could not be done, on one line: what an error says in the result of a check."""

from __future__ import annotations

from ..errors import ConfigError, Message, SamattnError, code_of


def reason(error: SamattnError) -> Message:
    """What an error says without its codes, and the code of the first thing that is wrong."""
    code = next(iter(error.codes), "")
    problems = error.problems if isinstance(error, ConfigError) else ()
    text = "; ".join(f"{problem.where}: {problem.message}" for problem in problems) or str(error.message)
    return Message(code, text.replace("\n", "; "))


def in_context(context: str, message: str) -> Message:
    """A message after a context such as "in base main", with the same code."""
    return Message(code_of(message), f"{context}: {message}")
