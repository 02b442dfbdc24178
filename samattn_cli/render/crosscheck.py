"""The verdicts of a cross-check in words."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..verdicts import Check, CrossCheck

MOST_DIFFERENCES = 12
STATUS_STYLES = {"exact": "green", "differs": "bold red", "skipped": "yellow", "failed": "bold red"}
CHECK_NAMES = {
    "parameters": "parameters",
    "fvcore": "fvcore",
    "flop_counter": "FlopCounterMode",
    "memory_trace": "memory trace",
}


@dataclass(frozen=True)
class Verdict:
    """One line of the cross-check."""

    name: str
    status: str
    text: str
    differences: tuple[str, ...] = ()


def verdicts(crosscheck: CrossCheck) -> list[Verdict]:
    """A line for each check; one line if none was run, for the same reason."""
    reasons = {check.reason for check in crosscheck.checks.values()}
    first = crosscheck.parameters
    if first.status in {"skipped", "failed"} and len(reasons) == 1:
        return [Verdict("cross-check", first.status, first.reason)]
    return [
        Verdict(CHECK_NAMES[name], check.status, _description(name, check), tuple(_differences(check)))
        for name, check in crosscheck.checks.items()
    ]


def _description(name: str, check: Check) -> str:
    if check.total is None:
        return check.reason
    what = {
        "parameters": f"{check.total:,} in {check.compared:,} tensors, by name and shape",
        "fvcore": f"{check.total:,} MACs, LayerNorm at 5 included; {check.compared:,} counts by module and kind",
        "flop_counter": f"{check.total:,} FLOPs; {check.compared:,} counts by module and kind",
        "memory_trace": f"{check.total:,} B at the peak; {check.compared:,} peaks, sums kept, allocations and products of forward and backward, in order",
    }[name]
    route = "counted on real tensors, as the meta device failed" if check.route == "real" else ""
    return "; ".join(filter(None, (what, route, check.reason)))


def _differences(check: Check) -> Iterator[str]:
    for difference in check.differences[:MOST_DIFFERENCES]:
        yield f"{difference.where} {difference.what}: derived {_figure(difference.derived)}, found {_figure(difference.found)}"
    if (more := len(check.differences) - MOST_DIFFERENCES) > 0:
        yield f"... and {more:,} more"


def _figure(value: int | str | None) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else value


def layers_note(crosscheck: CrossCheck, config: EncoderConfig) -> str:
    """How much of the real stack was run."""
    run, depth = crosscheck.layers_run, len(config.layers)
    if not run:
        return ""
    return f"{run} of {depth} blocks run, one of each kind" if run < depth else "every block run"


def is_said_in_short(crosscheck: CrossCheck) -> bool:
    """Whether one line says all of it: every check is exact, or none was run."""
    checks = crosscheck.checks.values()
    is_plain = not any(check.reason or check.route == "real" for check in checks)
    return {check.status for check in checks} == {"skipped"} or (crosscheck.status == "exact" and is_plain)
