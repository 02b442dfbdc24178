"""The results of a check in words, for every format: their order, the sentences of each, and the tally."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from ...encoder.presets import presets
from ...errors import Message, with_code
from ...records import replace
from ...render.options import Checkout
from ...render.shield import visible
from ...reports.diff import Place
from ...units import format_apart, format_excess, format_things
from ..reports.check import EXPECTED, WORST_FIRST, CheckReport, Outcome, Result
from ..thresholds import TRACED

Fact = tuple[str, str]
"""A label and a text."""


def cleaned(report: CheckReport) -> CheckReport:
    """The report with invisible characters made visible: see `visible`."""
    return replace(
        report,
        thresholds=visible(report.thresholds),
        base=visible(report.base),
        configs=tuple(map(visible, report.configs)),
        results=tuple(map(_cleaned_result, report.results)),
    )


def from_root(report: CheckReport, checkout: Checkout | None) -> CheckReport:
    """The report with paths of files from the root of the repository, if there is one.

    Programs that show files look for them there, wherever the check ran. Commands are not changed.
    """
    if checkout is None:
        return report
    results = (
        replace(
            result,
            config=result.config and _config_from_root(result.config, checkout),
            place=_place_from_root(result.place, checkout),
            rule_place=_place_from_root(result.rule_place, checkout),
        )
        for result in report.results
    )
    return replace(report, thresholds=checkout.from_root(report.thresholds), results=tuple(results))


def _config_from_root(config: str, checkout: Checkout) -> str:
    return config if config in presets() or config.startswith(TRACED) else checkout.from_root(config)


def _place_from_root(place: Place | None, checkout: Checkout) -> Place | None:
    return place and replace(place, file=checkout.from_root(place.file))


def _cleaned_result(result: Result) -> Result:
    return replace(
        result,
        rule=visible(result.rule),
        config=visible(result.config),
        profile=visible(result.profile),
        metric=visible(result.metric),
        unit=visible(result.unit),
        compared_with=visible(result.compared_with),
        summary=visible(result.summary, keep="\n"),
        advice=visible(result.advice, keep="\n"),
        place=_cleaned_place(result.place),
        rule_place=_cleaned_place(result.rule_place),
        causes=tuple(map(visible, result.causes)),
        command=visible(result.command),
        code=visible(result.code),
    )


def _cleaned_place(place: Place | None) -> Place | None:
    return place and replace(place, file=visible(place.file))


def worst_first(results: Iterable[Result]) -> list[Result]:
    """The results by outcome, the worst first, and then by the distance from their limit, the furthest first."""
    return sorted(results, key=lambda result: (WORST_FIRST.index(result.outcome), -abs(share(result) or 0.0)))


def not_passed(report: CheckReport) -> list[Result]:
    """The results that did not pass, worst first."""
    return [result for result in worst_first(report.results) if result.outcome != "pass"]


def share(result: Result) -> float | None:
    """The distance of a result from its limit, as a share of the limit."""
    if not result.excess or not result.limit:
        return None
    of_limit = result.excess / abs(result.limit)
    return of_limit if math.isfinite(of_limit) else None


def counts(results: Iterable[Result]) -> str:
    """How many results there are of each outcome."""
    number = Counter(result.outcome for result in results)
    words: dict[Outcome, str] = {
        "unchecked": f"{number['unchecked']} could not be checked",
        "error": format_things(number["error"], "error"),
        "warn": format_things(number["warn"], "warning"),
        "waived": f"{number['waived']} waived",
        "pass": f"{number['pass']} passed",
    }
    return ", ".join(text for outcome, text in words.items() if number[outcome]) or "nothing to check"


def tally(report: CheckReport) -> str:
    """How many results there are of each outcome, and whether warnings fail the check."""
    fail = (
        " (warnings fail)"
        if any(report.weight(result) != result.outcome for result in report.results)
        else ""
    )
    return counts(report.results) + fail


def scope(report: CheckReport) -> str:
    """What was checked, and what it was compared with."""
    configs = format_things(len(report.configs), "config")
    return f"{configs}, compared with {report.base}" if report.base else configs


def subject(result: Result) -> str:
    """The rule, its config and its profile: "fits: encoders/h.yaml (serve)"."""
    about = f": {result.config}" if result.config else ""
    return f"{result.rule}{about}" + (f" ({result.profile})" if result.profile else "")


def figures(result: Result) -> dict[str, str]:
    """The value, its limit and what it was compared with, if there are any. Unequal figures look unequal."""
    named = {"value": result.value, "limit": result.limit, "compared": result.compared}
    known = {name: figure for name, figure in named.items() if figure is not None}
    return dict(zip(known, format_apart(result.unit, *known.values()), strict=True))


def beyond(result: Result) -> str:
    """The side of its limit on which a value is, and the distance: "over by 0.75 GiB (12.50 %)"."""
    return f"{'over' if (result.excess or 0) > 0 else 'under'} by {_excess(result)}" if result.excess else ""


def _excess(result: Result) -> str:
    """The distance of a value from its limit, in its unit and in percent."""
    of_limit = share(result)
    return format_excess(result.unit, abs(result.excess or 0), None if of_limit is None else abs(of_limit))


def facts(result: Result) -> Iterator[Fact]:
    """Facts about a result that its sentences do not have: figures, causes, places, and a command that shows more."""
    known = figures(result)
    is_expected = result.compared_with == EXPECTED  # then the summary has the value and the expected one
    if is_expected and result.excess:
        yield "limit", f"{known['limit']}, {beyond(result)}"
    if not is_expected and (text := _figures_in_one_line(result, known)):
        yield "value", text
    if not is_expected and "compared" in known:
        yield "against", ", ".join(filter(None, [known["compared"], result.compared_with]))
    yield from (("cause", cause) for cause in result.causes)
    if result.place:
        yield "at", str(result.place)
    if result.rule_place and result.rule_place != result.place:
        yield "rule", str(result.rule_place)
    if result.command:
        yield "more", result.command


def _figures_in_one_line(result: Result, known: dict[str, str]) -> str:
    """Such as "flops 5.96 TFLOP, limit 5.58 TFLOP, over by ..."; "" if the summary has these figures."""
    if "value" not in known:
        return ""
    if result.excess and known["value"] in result.summary and _excess(result) in result.summary:
        return ""
    metric = result.metric if result.metric != result.unit else ""
    value = " ".join(filter(None, [metric, known["value"]]))
    limit = f"limit {known['limit']}" if "limit" in known else ""
    return ", ".join(filter(None, [value, limit, beyond(result)]))


def sentences(result: Result) -> tuple[str, ...]:
    """What is wrong, with its code, and the rule's own message."""
    summary = with_code(Message(result.code, result.summary)) if result.code else result.summary
    return tuple(filter(None, [summary, result.advice]))


def whole_text(result: Result) -> str:
    """The sentences and facts of a result as plain text, a line each."""
    return "\n".join([*sentences(result), *(f"{label}: {text}" for label, text in facts(result))])


def location(result: Result, report: CheckReport) -> Place:
    """The place that a viewer shows: that of the result, else its rule, else the thresholds file. It always has a line."""
    place = result.place or result.rule_place or Place(report.thresholds)
    return replace(place, file=PurePath(place.file).as_posix(), line=place.line or 1)


def fingerprints(results: Sequence[Result]) -> list[str]:
    """A unique name of each result, which stays the same when figures, lines and sentences change."""
    from hashlib import sha256  # not at start-up: it loads OpenSSL

    subjects = [repr((result.rule, result.config, result.profile, result.metric)) for result in results]
    seen: Counter[str] = Counter()
    names = []
    for about in subjects:
        seen[about] += 1
        names.append(sha256(f"{about} {seen[about]}".encode()).hexdigest())
    return names
