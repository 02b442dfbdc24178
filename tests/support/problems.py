"""Problems as tests know them: by place, code, and the names and numbers that their sentences have, whatever the words.

A test writes ``"e.yaml:6:23: [no-such-block] 4 0 3"``: the place, the code, and facts. Each fact must be in the sentence as
a word of its own; the words around the facts may change.
"""

from __future__ import annotations

import re

import pytest

from samattn_cli.errors import ConfigError, Problem, SamattnError, code_of

EXPECTED = re.compile(r"(?:(?P<where>.*): )?\[(?P<code>[a-z0-9-]+)\](?P<facts>.*)", re.DOTALL)


class Known:
    """A place and a message, equal to a text of the form above."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, where: str, message: str) -> None:
        self.where = where
        self.message = message

    def __eq__(self, expected: object) -> bool:
        wanted = EXPECTED.fullmatch(expected) if isinstance(expected, str) else None
        assert wanted is not None, f"not of the form 'PLACE: [code] facts': {expected!r}"
        is_there = (wanted["where"] or "", wanted["code"]) == (self.where, code_of(self.message))
        return is_there and all(_has(self.message, fact) for fact in wanted["facts"].split())

    def __repr__(self) -> str:
        return f"{self.where}: [{code_of(self.message)}] {self.message}"


def problems_of(error: pytest.ExceptionInfo[ConfigError]) -> list[Known]:
    """The problems of an error, in their order."""
    return list(map(_known, error.value.problems))


def message_of(error: pytest.ExceptionInfo[SamattnError]) -> Known:
    """The one message of an error; its place is what it begins with up to a colon, such as an option or a file."""
    where, colon, _ = error.value.message.partition(": ")
    return Known(where if colon else "", error.value.message)


def messages_of(error: pytest.ExceptionInfo[ConfigError]) -> list[Known]:
    """The messages of an error without their places."""
    return [Known("", problem.message) for problem in error.value.problems]


def _known(problem: Problem) -> Known:
    return Known(problem.where, problem.message)


def _has(message: str, fact: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(fact)}(?!\w)", message) is not None
