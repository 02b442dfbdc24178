"""The style of a page, and the style of a part of a notebook, whose rules stay inside that part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from ..charts.theme import DARK_FAINT, DARK_GRID, DARK_INK, DARK_PAPER, FAINT, GRID, INK, PAPER

COLORS = {
    "/* light */": {"ink": INK, "faint": FAINT, "grid": GRID, "paper": PAPER},
    "/* dark */": {"ink": DARK_INK, "faint": DARK_FAINT, "grid": DARK_GRID, "paper": DARK_PAPER},
}
"""The colours of charts, and the places in the style where they stand."""
COLOR = re.compile(r"--\w+: #\w{6};")
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")

IN_A_NOTEBOOK = "samattn-report"
"""The class of an element that stands in a notebook."""
LIGHT = ('body[data-jp-theme-light="true"]', "body.vscode-light", 'html[theme="light"]')
DARK = ('body[data-jp-theme-light="false"]', "body.vscode-dark", 'html[theme="dark"]')
"""What JupyterLab, VS Code and Colab call their themes; elsewhere the system's theme is followed."""
OWN = """display: block; padding: .75rem 1rem; max-width: 80rem; color: var(--ink); background: var(--paper); text-align: left;
  font: 14px/1.5 Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif; overflow-wrap: anywhere;"""
"""How such an element looks; it has its own ground, so that it can be read on any notebook."""
MORE = """tr, th, td { border: 0; background: none; }
tbody tr:nth-child(n) { background: none; }
summary { cursor: pointer; font-weight: 600; margin: .4rem 0; }
.title { font-size: 1.2em; font-weight: 600; }
.part { font-weight: 600; margin: 1rem 0 .4rem; }
* { box-sizing: border-box; }
"""
"""Its parts that a page does not have."""


def resource(name: str) -> str:
    """A file of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def colored(style: str) -> str:
    """A style with the colours of charts."""
    for place, colors in COLORS.items():
        style = style.replace(place, " ".join(f"--{name}: {color};" for name, color in colors.items()))
    return style


def of_a_notebook() -> str:
    """The style of an element of the class `IN_A_NOTEBOOK`: each of its rules names that class."""
    light, dark = (
        " ".join(COLOR.findall(half)) for half in colored(resource("style.css")).split("@media")[:2]
    )
    own = f".{IN_A_NOTEBOOK}"
    return "\n".join(
        (
            f"{own} {{ color-scheme: light; {light} {OWN} }}",
            f"@media screen and (prefers-color-scheme: dark) {{ {own} {{ color-scheme: dark; {dark} }} }}",
            f"{_inside(LIGHT)} {{ color-scheme: light; {light} }}",
            f"{_inside(DARK)} {{ color-scheme: dark; {dark} }}",
            *_own_rules(MORE + resource("parts.css")),
        )
    )


def _inside(places: tuple[str, ...]) -> str:
    return ", ".join(f"{place} .{IN_A_NOTEBOOK}" for place in places)


def _own_rules(style: str) -> Iterator[str]:
    """The rules of a style, for what is inside the element alone."""
    for selectors, body in RULE.findall(style):
        own = ", ".join(f".{IN_A_NOTEBOOK} {selector.strip()}" for selector in selectors.split(","))
        yield f"{own} {{{body}}}"
