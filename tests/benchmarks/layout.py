"""How a line of `tests.benchmarks.table` is laid out, as text and in Markdown."""

from __future__ import annotations

from tests.benchmarks.measuring import Line

HEADER = f"{'':56}{'today':>10}{'now':>10}{'ratio':>8}{'target':>9}  {'':7}{'peaks':>17}"
MARKDOWN_HEADER = (
    "| what | today | now | ratio | target | | peak today | peak now | remark |",
    "| :-- | --: | --: | --: | --: | :-- | --: | --: | :-- |",
)
NONE = "-"


def figure(value: float | None, unit: str) -> str:
    """A value with its unit; bytes in MB."""
    if value is None:
        return NONE
    if unit == "B":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.3f}x" if unit == "x" else f"{value:,.2f} {unit}"


def cells(line: Line) -> list[str]:
    """Today, now, ratio, target, verdict, and the peaks of both."""
    target = figure(line.target, line.unit) if line.absolute else f"{line.target:.2f}"
    ratio = NONE if line.ratio is None else f"{line.ratio:.3f}"
    peaks = [figure(nbytes, "B") for nbytes in line.peaks] if line.peaks else [NONE, NONE]
    verdict = "met" if line.met else "missed"
    return [figure(line.today, line.unit), figure(line.now, line.unit), ratio, target, verdict, *peaks]


def _remark(line: Line) -> str:
    return "; ".join(filter(None, (line.wrong, line.remark)))


def drawn(line: Line) -> str:
    """A line as text."""
    today, now, ratio, target, verdict, before, after = cells(line)
    figures = f"{today:>10}{now:>10}{ratio:>8}{target:>9}  {verdict:7}{before:>9}{after:>8}"
    return f"{line.what:56}{figures}  {_remark(line)}".rstrip()


def failed(reason: str) -> str:
    """A row that was not measured, as text."""
    return f"FAILED {reason}"


def in_markdown(line: Line) -> str:
    """A line as a row of a Markdown table."""
    return f"| {' | '.join([_escaped(line.what), *cells(line), _escaped(_remark(line))])} |"


def failed_in_markdown(reason: str) -> str:
    """A row that was not measured, as a row of a Markdown table."""
    name, _, why = reason.partition(": ")
    return f"| {_escaped(name)} | | | | | failed | | | {_escaped(why)} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
