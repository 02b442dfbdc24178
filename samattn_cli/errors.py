"""The errors that samattn raises for its users; each knows the exit code of the command line.

Exit codes: 0 clean, 1 something that was checked differs, 2 could not check or bad input, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

from .records import dataclass
from .spelling import alike, either

EXIT_DIFFERS = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class Message(str):
    """A sentence for the user, with a code for the kind of fault. Scripts and tests read the code; the words may change.

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
    """A message as it is printed, with its code in brackets at the end of the first line."""
    code = code_of(message)
    first, *rest = message.split("\n")
    return "\n".join([f"{first} [{code}]" if code else first, *rest])


def at_place(where: str, message: str) -> Message:
    """A message after the place that it is about ("file.yaml:3:7", "--metric foo"); it keeps its code."""
    return Message(code_of(message), f"{where}: {message}")


class SamattnError(Exception):
    """An error for the user, printed without a traceback: a code and a sentence."""

    exit_code = EXIT_ERROR

    @overload
    def __init__(self, code: Message) -> None: ...

    @overload
    def __init__(self, code: str, text: str) -> None: ...

    def __init__(self, code: str, text: str | None = None) -> None:
        """Take a code and a sentence, or a message that has both."""
        self.message = Message(code_of(code), code) if text is None else Message(code, text)
        super().__init__(with_code(self.message))

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each thing that is wrong."""
        return (code_of(self.message),)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the input: its place ("file.yaml:3:7"), and what is wrong and what would be right."""

    where: str
    message: Message

    def __str__(self) -> str:
        return f"{self.where}: {with_code(self.message)}"


class ConfigError(SamattnError):
    """All the problems of one config, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(Message("", "\n".join(map(str, self.problems))))  # each problem has its own code

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each thing that is wrong."""
        return tuple(code_of(problem.message) for problem in self.problems)


class OutputError(SamattnError):
    """A report could not be written."""


class UsageError(SamattnError):
    """The value of an option is wrong, or wrong for this config."""


class FamilyError(SamattnError):
    """A family of encoders from outside the package cannot be used."""


class DeviceError(SamattnError):
    """The machine does not have the device, or torch cannot run on it."""


class RecordingError(SamattnError):
    """A recording is damaged, or belongs to something else."""


class GitError(SamattnError):
    """git cannot do what was asked; the message says what to do."""


class ImportFailedError(SamattnError):
    """A model to import is damaged, unknown, or has a feature that samattn cannot express."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the names of `known` that a word may mean, or an empty string."""
    names = alike(word, known)
    return f"; did you mean {either(names)}?" if names else ""
