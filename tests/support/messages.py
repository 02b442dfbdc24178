"""Every message that samattn has a code for, read from its source: tests know messages by their codes alone.

`tests/golden/messages.txt` is the page of them, so that a sentence can be made better in one place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

CODE = re.compile(r"[a-z]+(-[a-z0-9]+)+")
QUOTED = re.compile(rf'"{CODE.pattern}"')
PACKAGE = Path(__file__).parent.parent.parent / "samattn_cli"


class Coded(NamedTuple):
    code: str
    sentence: str
    """With names in braces for what is filled in."""
    path: str


@cache
def messages() -> list[Coded]:
    every = (found for path in sorted(PACKAGE.rglob("*.py")) for found in _of(path))
    return sorted(found for found in every if " " in found.sentence)


def page() -> str:
    """The messages of each code, in the order of codes."""
    lines: list[str] = []
    last = ""
    for code, sentence, _ in dict.fromkeys(each._replace(path="") for each in messages()):
        if code != last:
            lines.append(f"[{code}]")
        lines.append(f"    {sentence}")
        last = code
    return "\n".join([*lines, ""])


def _of(path: Path) -> Iterator[Coded]:
    """Calls with a code and then a sentence, or the name of a variable with one; a place may come before them."""
    text = path.read_text("utf-8")
    if QUOTED.search(text) is None:
        return
    nodes = list(ast.walk(ast.parse(text)))
    assigned = list(_assigned(nodes))
    for call in nodes:
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        pair = next((pair for pair in pairwise(call.args[:3]) if _is_code(pair[0])), None)
        if pair is not None:
            code, text = cast("ast.Constant", pair[0]), pair[1]
            before = [value for line, name, value in assigned if _is_name(text, name) and line <= call.lineno]
            sentence = _sentence(before[-1] if before else text)
            yield Coded(str(code.value), sentence, str(path.relative_to(PACKAGE)))


def _is_code(argument: ast.expr) -> bool:
    value = argument.value if isinstance(argument, ast.Constant) else None
    return isinstance(value, str) and CODE.fullmatch(value) is not None


def _assigned(nodes: list[ast.AST]) -> Iterator[tuple[int, str, ast.expr]]:
    """The values of variables, in the order of lines."""
    every = [each for each in nodes if isinstance(each, ast.Assign)]
    for each in sorted(every, key=lambda each: each.lineno):
        if isinstance(each.targets[0], ast.Name):
            yield each.lineno, each.targets[0].id, each.value


def _is_name(text: ast.expr, name: str) -> bool:
    return isinstance(text, ast.Name) and text.id == name


def _sentence(text: ast.expr) -> str:
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else _sentence(part)
            for part in text.values
        )
    return f"{{{ast.unparse(text)}}}"
