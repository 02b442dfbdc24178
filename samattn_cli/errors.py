"""The errors that samattn raises for its users; each knows the exit code of the command line.

Exit codes: 0 clean, 1 something that was checked differs, 2 could not check or bad input, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .spelling import alike, either

EXIT_DIFFERS = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class Message(str):
    """A sentence for the user, and a code by which scripts and tests know what is wrong, whatever the words.

    A code is a few lower-case words with hyphens: ``Message("unknown-key", "unknown key 'foo'")``.
    """

    __slots__ = ("code",)
    code: str

    def __new__(cls, code: str, text: str) -> Message:  # noqa: PYI034 - Self is not in Python 3.10
        """Join the two."""
        message = super().__new__(cls, text)
        message.code = code
        return message

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.code, str(self)


def code_of(message: str) -> str:
    """The code of a message; "" for a text without one."""
    return message.code if isinstance(message, Message) else ""


def with_code(message: str) -> str:
    """A message as it is printed: its code in brackets at the end of its first line."""
    code = code_of(message)
    first, *rest = message.split("\n")
    return "\n".join([f"{first} [{code}]" if code else first, *rest])


def at_place(where: str, message: str) -> Message:
    """A message after the place that it is about ("file.yaml:3:7", "--metric foo"); it keeps its code."""
    return Message(code_of(message), f"{where}: {message}")


class SamattnError(Exception):
    """An error whose message is meant for the user, without a traceback: its code, and the sentence."""

    exit_code = EXIT_ERROR

    def __init__(self, code: str, text: str | None = None) -> None:
        self.message = code if text is None else Message(code, text)
        super().__init__(with_code(self.message))

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each thing that is wrong."""
        return (code_of(self.message),)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: where it stands ("file.yaml:3:7"), what is wrong, what would be right."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {with_code(self.message)}"


class ConfigError(SamattnError):
    """All the problems of one config, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each thing that is wrong."""
        return tuple(code_of(problem.message) for problem in self.problems)


class OutputError(SamattnError):
    """A report could not be written."""


class UsageError(SamattnError):
    """An option's value makes no sense for this config."""


class FamilyError(SamattnError):
    """A family of encoders from outside the package cannot be used."""


class DeviceError(SamattnError):
    """There is no such device here, or torch cannot run on it."""


class RecordingError(SamattnError):
    """A recording is damaged, or of something else."""


class GitError(SamattnError):
    """git cannot give what was asked of it; the message says what to do."""


class ImportFailedError(SamattnError):
    """What was to be imported is damaged, unknown, or says what samattn cannot express."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the names of `known` that a word may stand for, or an empty string."""
    names = alike(word, known)
    return f"; did you mean {either(names)}?" if names else ""
