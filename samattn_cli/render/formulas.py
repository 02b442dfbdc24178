"""Formulas in Python's notation, as people write them: ``2*B*ceil(H/w)**2`` as 2·B·⌈H/w⌉² or in LaTeX."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from ..records import dataclass
from .elements import Equation

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


@dataclass(frozen=True)
class Notation:
    """How a formula is written: each takes the texts of its operands."""

    times: Callable[[str, str], str]
    power: Callable[[str, str], str]
    quotient: Callable[[str, str], str]
    bracket: Callable[[str], str]
    calls: Mapping[str, Callable[[str], str]]
    comma: str


UNICODE = Notation(
    times=lambda one, two: f"{one}·{two}",
    power=lambda base, power: f"{base}{power.translate(SUPERSCRIPTS)}",
    quotient=lambda over, under: f"{over}/{under}",
    bracket=lambda inner: f"({inner})",
    calls={"ceil": "⌈{}⌉".format, "floor": "⌊{}⌋".format, "max": "max({})".format},
    comma=", ",
)
LATEX = Notation(
    times=lambda one, two: rf"{one} \cdot {two}" if two[0].isdigit() else rf"{one} \, {two}",
    power=lambda base, power: f"{base}^{{{power}}}",
    quotient=lambda over, under: rf"\frac{{{over}}}{{{under}}}",
    bracket=lambda inner: rf"\left({inner}\right)",
    calls={
        "ceil": r"\left\lceil {} \right\rceil".format,
        "floor": r"\left\lfloor {} \right\rfloor".format,
        "max": r"\max\left({}\right)".format,
    },
    comma=r",\; ",
)


def unicode(formula: str) -> str:
    """The formula as a line of text."""
    return _written(_parsed(formula), UNICODE)


def latex(formula: str) -> str:
    """The formula in LaTeX's math mode."""
    return _written(_parsed(formula), LATEX)


def aligned(equation: Equation) -> Iterator[str]:
    """The lines of an equation in LaTeX, aligned at its signs."""
    sides = [*map(latex, equation.formulas), rf"\text{{{escaped(equation.value)}}}"]
    yield r"\begin{aligned}"
    for number, side in enumerate(sides):
        left = "" if number else rf"\text{{{escaped(equation.left)}}}"
        yield rf"{left} &= {side}" + (r" \\" if number < len(sides) - 1 else "")
    yield r"\end{aligned}"


def escaped(text: str) -> str:
    """Plain text in LaTeX."""
    return text.translate(ESCAPES)


def with_numbers(formula: str, values: Mapping[str, int]) -> str:
    """The formula with numbers in place of its names."""

    class Numbers(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return ast.Constant(values[node.id]) if node.id in values else node

    return ast.unparse(Numbers().visit(_parsed(formula)))


def _parsed(formula: str) -> ast.expr:
    return ast.parse(formula, mode="eval").body


def _written(node: ast.expr, how: Notation) -> str:
    if isinstance(node, ast.BinOp):
        return _operation(node, how)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)  # noqa: S101 - as `symbols.written` writes them
        return how.calls[node.func.id](how.comma.join(_written(part, how) for part in node.args))
    if isinstance(node, ast.Name) and node.id[-1].isdigit() and how is LATEX:
        return f"{node.id[0]}_{{{node.id[1:]}}}"
    if isinstance(node, ast.UnaryOp):
        return f"-{_written(node.operand, how)}"
    return ast.unparse(node)


def _operation(node: ast.BinOp, how: Notation) -> str:
    if isinstance(node.op, ast.Add | ast.Sub):
        sign = "+" if isinstance(node.op, ast.Add) else "-"
        return f"{_written(node.left, how)} {sign} {_written(node.right, how)}"
    if isinstance(node.op, ast.Div) and how is LATEX:  # its bar is a bracket
        return how.quotient(_written(node.left, how), _written(node.right, how))
    joined = {ast.Mult: how.times, ast.Pow: how.power, ast.Div: how.quotient}[type(node.op)]
    divisor = isinstance(node.op, ast.Div) and isinstance(node.right, ast.BinOp)
    under = _written(node.right, how)
    return joined(_factor(node.left, how), how.bracket(under) if divisor else _factor(node.right, how))


def _factor(node: ast.expr, how: Notation) -> str:
    """In brackets, if it is a sum."""
    text = _written(node, how)
    is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
    return how.bracket(text) if is_sum else text
