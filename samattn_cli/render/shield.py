r"""Other people's text is printed so that neither a terminal nor GitHub Actions, which reads the log of a step, obeys it.

Names, ids, messages, file names and the keys of JSON are other people's text. An escape sequence in them would move a
terminal's cursor. A line that begins with "::add-mask::", or has "##[error]" in it, would be a workflow command. In a
report for people, GitHub's own remedy stops commands; in a format for programs, those characters are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from unicodedata import category

from ..patterns import pattern
from ..records import dataclass

WORKFLOW_COMMAND = pattern(r"^(?P<before>[^\S\n]*)::|##\[", re.MULTILINE)
STYLE = pattern(r"(\x1b\[[0-9;]*m)")
"""What Rich writes for a colour, bold and dim."""

SPACE = "Zs"
"""Unicode's category of spaces."""

STYLED = "terminal"
"""The format with Rich's styles: its text is made visible before the layout."""

COMMANDS = "github"
"""The format that consists of commands; it escapes the text in them."""


@dataclass(frozen=True)
class Escapes:
    """How a format writes a colon and a bracket that must not be obeyed."""

    colon: str
    bracket: str


JSON, XML = Escapes(":", "\\u005b"), Escapes("&#58;", "&#91;")  # no line of JSON begins with a colon
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
"""Formats for programs, and a line in another program's layout. For YAML these are the escapes of quoted text."""


def visible(text: str, keep: str = "") -> str:
    r"""Text in which what a terminal or a browser would obey is escaped as in Python: ESC as "\x1b".

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
    """Whether a terminal shows it: also spaces of other scripts, which Python does not call printable."""
    return character.isprintable() or category(character) == SPACE


def printed(text: str, format_name: str, environ: Mapping[str, str]) -> str:
    """A report as it is printed, so that neither a terminal nor GitHub Actions obeys text in it.

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
    """Text for programs, without workflow commands."""

    def escape(match: re.Match[str]) -> str:
        is_colon = match["before"] is not None
        return f"{match['before']}{escapes.colon}:" if is_colon else f"##{escapes.bracket}"

    return WORKFLOW_COMMAND.sub(escape, text)


def is_github(environ: Mapping[str, str]) -> bool:
    """Whether this is a step of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def shielded(text: str, environ: Mapping[str, str]) -> str:
    """Text for people; under GitHub Actions, a workflow command in it is shown, not run.

    GitHub's own remedy is to stop commands until a word that nobody can guess.
    """
    if not is_github(environ) or not WORKFLOW_COMMAND.search(text):
        return text
    from secrets import token_hex

    word = token_hex()
    return f"::stop-commands::{word}\n{text.removesuffix(chr(10))}\n::{word}::\n"
