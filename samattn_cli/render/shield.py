r"""What is printed is only shown: a terminal does not obey it, nor does GitHub Actions, which reads the log of a step.

Names, ids, messages, file names and the keys of JSON are other people's text. An escape in them would move a terminal's
cursor. A line that begins with "::add-mask::", or that holds "##[error]", would be a workflow command. In a report that
people read, GitHub's own remedy stops commands; a format that programs read writes those characters as its escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import category

WORKFLOW_COMMAND = re.compile(r"^(?P<before>[^\S\n]*)::|##\[", re.MULTILINE)
STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
"""What Rich writes for a colour, and for bold and dim."""

SPACE = "Zs"
"""Unicode's category of spaces."""

STYLED = "terminal"
"""The format whose styles are Rich's: other text in it is made visible before it is laid out."""

COMMANDS = "github"
"""The format that is meant to be commands; it escapes what stands in them."""


@dataclass(frozen=True)
class Escapes:
    """How a format writes a colon and a bracket that are only meant to be read."""

    colon: str
    bracket: str


JSON, XML = Escapes(":", "\\u005b"), Escapes("&#58;", "&#91;")  # of JSON no line begins with a colon
MARKDOWN, LATEX = Escapes("\\:", "\\["), Escapes("{:}", "{[}")
PLAIN = Escapes("\\x3a", "\\x5b")
OF_FORMAT = {
    "json": JSON,
    "sarif": JSON,
    "gitlab": JSON,
    "junit": XML,
    "markdown": MARKDOWN,
    "latex": LATEX,
    "csv": PLAIN,
    "yaml": PLAIN,
    "line": PLAIN,
}
"""The formats that programs read, and a line that somebody else lays out; of YAML these are the escapes of a quoted text, and plain to see in a comment."""


def visible(text: str, keep: str = "") -> str:
    r"""Text with what a terminal or a browser would obey rather than show as Python escapes it: ESC as "\x1b".

    That is controls, line separators, changes of direction, halves of a surrogate pair (bytes of a file name that are
    not UTF-8) and code points that are not characters; none of them is legal, or safe, in every format.
    """
    plain = text
    for sign in keep:
        plain = plain.replace(sign, "")
    if plain.isprintable():
        return text
    return "".join(c if c in keep or _is_shown(c) else ascii(c)[1:-1] for c in text)


def _is_shown(character: str) -> bool:
    """Whether a terminal shows it; so it does the spaces of other scripts, which Python does not call printable."""
    return character.isprintable() or category(character) == SPACE


def printed(text: str, format_name: str, environ: Mapping[str, str]) -> str:
    """A report as it is printed: nothing in it is obeyed by a terminal, nor by GitHub Actions where that runs it.

    Args:
        text: the report.
        format_name: its format; "text" for what is not a report.
        environ: the environment.
    """
    if format_name == STYLED:
        parts = STYLE.split(text)
        text = "".join(part if STYLE.fullmatch(part) else visible(part, keep="\n\t") for part in parts)
    else:
        text = visible(text, keep="\n\t")
    if format_name == COMMANDS or not is_github(environ):
        return text
    escapes = OF_FORMAT.get(format_name)
    return _escaped(text, escapes) if escapes else shielded(text, environ)


def _escaped(text: str, escapes: Escapes) -> str:
    """Text for programs without a workflow command."""

    def escape(found: re.Match[str]) -> str:
        is_colon = found["before"] is not None
        return f"{found['before']}{escapes.colon}:" if is_colon else f"##{escapes.bracket}"

    return WORKFLOW_COMMAND.sub(escape, text)


def is_github(environ: Mapping[str, str]) -> bool:
    """Whether this is a step of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def shielded(text: str, environ: Mapping[str, str]) -> str:
    """Text that people read; under GitHub Actions, what would be a workflow command in it is only shown.

    GitHub's own remedy is to stop commands until a word that nobody can guess.
    """
    if not is_github(environ) or not WORKFLOW_COMMAND.search(text):
        return text
    from secrets import token_hex

    word = token_hex()
    return f"::stop-commands::{word}\n{text.removesuffix(chr(10))}\n::{word}::\n"
