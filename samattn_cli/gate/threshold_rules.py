"""The rules between the keys of a thresholds file: what a rule says goes with its metric, and names lead somewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic_core import SchemaValidator

from ..encoder.keys import class_schema
from ..encoder.tree import Loc, Node
from ..encoder.validate import LocatedMessage
from ..encoder.wording import cut
from ..errors import did_you_mean
from ..files.globs import glob_problem
from ..files.sources import STDIN
from ..metric_names import is_gain, is_share, unit_of, unknown_metric
from ..quantities import EXAMPLES, PERCENT, TIMES_AS_MUCH, Quantity
from ..spelling import either
from .thresholds import FORMS, LEVELS, Bounds, Increase, Rule, Waiver

RESERVED = ("check", "config", "policy")
"""What reports call findings that no rule made."""

COUNTED = ("params", "")
"""Units of which a number needs none."""

MOST_HINTS = 20
"""That are worked out for unknown names of a kind."""

Held = TypeVar("Held")
Said = Iterator[tuple[Loc, str]]


def problems(tree: Node, broken: set[Loc]) -> Iterator[LocatedMessage]:
    """Every problem between keys, each where the keys that it needs are sound."""
    found = [*_of_rules(tree, broken), *_of_waivers(tree, broken), *_of_configs(tree, broken)]
    yield from ((tree.find(loc).where, message) for loc, message in found)


def _of_rules(tree: Node, broken: set[Loc]) -> Said:
    names, known = Counter(_ids(tree)), _keys(tree, "profiles")
    rules = list(_sound(tree, broken, "rules", Rule))
    hints = _hints([rule.profile for _, rule in rules if rule.profile], known)
    for at, rule in rules:
        if names[rule.id] > 1:
            yield (*at, "id"), f"the id {rule.id!r} is that of {names[rule.id]} rules: each needs its own"
        if message := glob_problem(rule.match):
            yield (*at, "match"), f"{cut(rule.match)!r} {message}"
        if rule.id.partition(".")[0] in RESERVED:
            yield (*at, "id"), f"the id {rule.id!r} is taken: reports call other findings so"
        if rule.profile and rule.profile not in known:
            hint = hints.get(rule.profile, "") or (f": there is {either(known)}" if known else "")
            yield (*at, "profile"), f"there is no profile {cut(rule.profile)!r}{hint}"
        yield from (((*at, *place), message) for place, message in _of_rule(rule))


def _of_waivers(tree: Node, broken: set[Loc]) -> Said:
    rules = {rule.id: rule for _, rule in _sound(tree, broken, "rules", Rule)}
    ids, waivers = _ids(tree), list(_sound(tree, broken, "waivers", Waiver))
    hints = _hints([waiver.rule for _, waiver in waivers], ids)
    for at, waiver in waivers:
        if message := glob_problem(waiver.config):
            yield (*at, "config"), f"{cut(waiver.config)!r} {message}"
        if waiver.rule not in ids:
            yield (*at, "rule"), f"there is no rule {cut(waiver.rule)!r}{hints.get(waiver.rule, '')}"
        elif waiver.rule in rules and not unknown_metric(rules[waiver.rule].metric):
            for reason in _unfit(waiver.upto, rules[waiver.rule].metric):
                yield (*at, "upto"), f"upto {reason}"


def _hints(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """What the first words that are none of the known names may have been meant to be; a file may have any number."""
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    return {word: did_you_mean(word, known) for word in unknown[:MOST_HINTS]}


def _of_configs(tree: Node, broken: set[Loc]) -> Said:
    if ("configs",) in broken:
        return
    for index, pattern in enumerate(_items(tree, "configs")):
        if not pattern.strip() or pattern == STDIN:
            yield (
                ("configs", index),
                "configs must be globs of files, or presets, such as 'encoders/**/*.yaml'",
            )
        elif pattern.startswith(("/", "~")):
            yield ("configs", index), f"configs start from the folder of this file: {pattern!r} does not"
        elif message := glob_problem(pattern):
            yield ("configs", index), f"{cut(pattern)!r} {message}"


def _of_rule(rule: Rule) -> Said:
    """What is wrong within a rule."""
    if message := unknown_metric(rule.metric):
        yield ("metric",), message
    forms = [form for form in FORMS if getattr(rule, form) is not None]
    if len(forms) != 1:
        what = " and ".join(forms) + " at once" if forms else "nothing"
        yield (
            tuple(forms[1:2]),
            f"the rule {rule.id!r} says {what}: give one of {', '.join(FORMS)}",
        )
    yield from _of_keys_beside(rule)
    if not unknown_metric(rule.metric):
        yield from _of_bounds(rule)
        yield from _of_expected(rule)
        yield from _of_increase(rule)


def _of_keys_beside(rule: Rule) -> Said:
    """Keys that need each other."""
    if rule.increase is not None and rule.vs is None:
        yield ("increase",), "increase needs 'vs: base' or 'vs: baseline': over what?"
    if rule.increase is None and rule.vs is not None:
        yield ("vs",), "vs goes with increase"
    if rule.expect is None and rule.tolerance is not None:
        yield ("tolerance",), "tolerance goes with expect"
    if is_gain(rule.metric):
        for form in ("limit", "increase"):
            if getattr(rule, form) is not None:
                yield (
                    (form,),
                    f"{form} is for costs, and more of {rule.metric} is better: use at_least or expect",
                )


def _of_bounds(rule: Rule) -> Said:
    for form, sign in (("limit", 1), ("at_least", -1)):
        bounds: Bounds | None = getattr(rule, form)
        if bounds is None:
            continue
        yield from _given(form, bounds)
        unfit = [(name, message) for name in LEVELS for message in _unfit(getattr(bounds, name), rule.metric)]
        yield from (((form, name), f"{form}.{name} {message}") for name, message in unfit)
        if not unfit:
            yield from _unreached(form, bounds, sign)


def _of_expected(rule: Rule) -> Said:
    if rule.expect is not None:
        yield from ((("expect",), f"expect {message}") for message in _unfit(rule.expect, rule.metric))
    if rule.expect is None or rule.tolerance is None:
        return
    if rule.tolerance.signed:
        yield ("tolerance",), f"tolerance {rule.tolerance} goes both ways: leave out its sign"
    elif rule.tolerance.unit != PERCENT:
        yield from (
            (("tolerance",), f"tolerance {message}") for message in _unfit(rule.tolerance, rule.metric)
        )


def _of_increase(rule: Rule) -> Said:
    increase = rule.increase
    if increase is None:
        return
    yield from _given("increase", increase)
    for name in LEVELS:
        bound: Quantity | None = getattr(increase, name)
        if bound is None:
            continue
        if not bound.signed:
            yield ("increase", name), f"increase.{name} {bound} needs its sign, as text: '+{bound}'"
        elif bound.unit != PERCENT and bound.amount:
            yield from (
                (("increase", name), f"increase.{name} {message}") for message in _unfit(bound, rule.metric)
            )
    if increase.warn and increase.error and increase.warn.unit == increase.error.unit:
        yield from _unreached("increase", increase, 1)
    if increase.and_above is not None:
        unfit = _unfit_least(increase.and_above, rule.metric)
        yield from ((("increase", "and_above"), f"increase.and_above {message}") for message in unfit)


def _unfit_least(above: Quantity, metric: str) -> Iterator[str]:
    """Why growth of a metric cannot be asked to be above it."""
    if above.signed or above.unit == PERCENT:
        yield f"{above} must be an amount without a sign, such as {EXAMPLES[unit_of(metric)]}"
    else:
        yield from _unfit(above, metric)


def _unreached(form: str, bounds: Bounds | Increase, sign: int) -> Said:
    """A warning that comes after the error: `sign` is 1 where more is worse, -1 where less is."""
    warn, error = bounds.warn, bounds.error
    if warn and error and sign * (warn.amount - error.amount) > 0:
        beyond = "above" if sign > 0 else "below"
        yield (form, "warn"), f"{form}.warn {warn} is {beyond} {form}.error {error}: it never warns"


def _given(form: str, bounds: Bounds | Increase) -> Said:
    if bounds.warn is None and bounds.error is None:
        yield (form,), f"{form} has neither warn nor error"


def _unfit(quantity: Quantity | None, metric: str) -> Iterator[str]:
    """Why a metric cannot be compared with a quantity."""
    unit = unit_of(metric)
    if quantity and not quantity.unit and is_share(metric) and quantity.amount > 1:
        yield f"{quantity} is more than all: {metric} is a share; did you mean '{quantity} %'?"
    if quantity is None or quantity.unit == unit or (not quantity.unit and unit in COUNTED):
        return
    if not unit and quantity.unit in {PERCENT, TIMES_AS_MUCH}:
        return
    example = EXAMPLES[unit]
    if not quantity.unit:
        yield f"{quantity} has no unit: {metric} is in {unit}, such as {example}"
    else:
        measured = f"in {unit}" if unit else "a share, ratio or count"
        yield f"{quantity} is not an amount of {metric}, which is {measured}, such as {example}"


def _sound(tree: Node, broken: set[Loc], name: str, held: type[Held]) -> Iterator[tuple[Loc, Held]]:
    """The items of a list that are sound by themselves, with their places."""
    validator = SchemaValidator(class_schema(held))
    for index, item in enumerate(_items(tree, name)):
        if (name, index) not in broken:
            yield (name, index), validator.validate_python(item)


def _ids(tree: Node) -> list[str]:
    """The ids of all rules, sound or not."""
    rules = _items(tree, "rules")
    return [str(rule["id"]) for rule in rules if isinstance(rule, dict) and "id" in rule]


def _items(tree: Node, name: str) -> tuple[Any, ...]:
    """The items of a list as plain data; none where there is none."""
    items = tree.find((name,)).plain() if name in _keys(tree) else ()
    return items if isinstance(items, tuple) else ()


def _keys(tree: Node, *loc: str) -> list[str]:
    """The keys of the mapping at `loc`; none where there is none."""
    node: Node | None = tree
    for part in loc:
        node = None if node is None else node.step(part)
    return list(node.value) if node is not None and isinstance(node.value, dict) else []
