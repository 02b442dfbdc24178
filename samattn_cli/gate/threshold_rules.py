"""The rules between the keys of a thresholds file: quantities fit their metric, and names of rules and profiles exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic_core import SchemaValidator

from ..encoder.schemas import class_schema
from ..encoder.tree import Loc, Node
from ..encoder.validate import LocatedMessage
from ..encoder.wording import cut
from ..errors import Message, did_you_mean
from ..files.globs import glob_problem
from ..files.sources import STDIN
from ..metric_names import is_gain, is_share, unit_of, unknown_metric
from ..quantities import EXAMPLES, PERCENT, TIMES_AS_MUCH, Quantity
from .thresholds import FORMS, LEVELS, Bounds, Increase, Rule, TracedTarget, Waiver

RESERVED = ("check", "config", "policy")
"""The names, in reports, of findings that no rule made."""

COUNTED = ("params", "")
"""Units that may be left out."""

MOST_HINTS = 20
"""The most unknown names of a kind for which similar names are looked up."""

Item = TypeVar("Item")
Problems = Iterator[tuple[Loc, Message]]


def problems(tree: Node, broken: set[Loc]) -> Iterator[LocatedMessage]:
    """Every problem between keys that are each valid by themselves."""
    located = [*_of_rules(tree, broken), *_of_waivers(tree, broken), *_of_configs(tree, broken)]
    yield from ((tree.find(loc).where, message) for loc, message in located)


def _of_rules(tree: Node, broken: set[Loc]) -> Problems:
    names, known = Counter(_ids(tree)), _keys(tree, "profiles")
    rules = list(_valid(tree, broken, "rules", Rule))
    hints = _hints([rule.profile for _, rule in rules if rule.profile], known)
    for at, rule in rules:
        if names[rule.id] > 1:
            text = f"{names[rule.id]} rules have the id {rule.id!r}: each needs its own"
            yield (*at, "id"), Message("duplicate-rule-id", text)
        if fault := glob_problem(rule.match):
            yield (*at, "match"), Message(fault.code, f"{cut(rule.match)!r} {fault}")
        if rule.id.partition(".")[0] in RESERVED:
            text = f"the id {rule.id!r} is reserved for findings that samattn itself makes"
            yield (*at, "id"), Message("reserved-rule-id", text)
        if rule.profile and rule.profile not in known:
            hint = hints.get(rule.profile, "") or (f"; choose from {', '.join(known)}" if known else "")
            yield (*at, "profile"), Message("unknown-profile", f"unknown profile {cut(rule.profile)!r}{hint}")
        yield from (((*at, *place), message) for place, message in _of_rule(rule))


def _of_waivers(tree: Node, broken: set[Loc]) -> Problems:
    rules = {rule.id: rule for _, rule in _valid(tree, broken, "rules", Rule)}
    ids, waivers = _ids(tree), list(_valid(tree, broken, "waivers", Waiver))
    hints = _hints([waiver.rule for _, waiver in waivers], ids)
    for at, waiver in waivers:
        if fault := glob_problem(waiver.config):
            yield (*at, "config"), Message(fault.code, f"{cut(waiver.config)!r} {fault}")
        if waiver.rule not in ids:
            text = f"unknown rule {cut(waiver.rule)!r}{hints.get(waiver.rule, '')}"
            yield (*at, "rule"), Message("unknown-rule", text)
        elif waiver.rule in rules and not unknown_metric(rules[waiver.rule].metric):
            for message in _unfit("upto", waiver.upto, rules[waiver.rule].metric):
                yield (*at, "upto"), message


def _hints(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The known names that are similar to the first unknown words; a file may have any number of those."""
    others = [word for word in dict.fromkeys(words) if word not in known]
    return {word: did_you_mean(word, known) for word in others[:MOST_HINTS]}


def _of_configs(tree: Node, broken: set[Loc]) -> Problems:
    if ("configs",) in broken:
        return
    entries = [entry if isinstance(entry, dict) else {"path": entry} for entry in _items(tree, "configs")]
    names = Counter(_path_of(entry) for entry in entries)
    for index, entry in enumerate(entries):
        at = ("configs", index)
        if len(entry) != 1:
            yield at, Message("not-one-form", "an entry of configs has a path or a trace, one of them")
        elif "path" in entry:
            yield from ((at, message) for message in _of_pattern(entry["path"]))
        elif names[path := _path_of(entry)] > 1:
            text = f"{names[path]} modules are called {path!r}: give each its own name, such as 'name: small'"
            yield at, Message("duplicate-name", text)


def _path_of(entry: dict[str, Any]) -> str:
    """The path of a module that is traced; "" of another entry."""
    return TracedTarget(**entry["trace"]).path if entry.get("trace") else ""


def _of_pattern(pattern: str) -> Iterator[Message]:
    if not pattern.strip() or pattern == STDIN:
        text = "configs must be globs of files, or presets, such as 'encoders/**/*.yaml'"
        yield Message("not-a-glob", text)
    elif pattern.startswith(("/", "~")):
        text = f"configs must be paths relative to the folder of this file, not {pattern!r}"
        yield Message("absolute-path", text)
    elif fault := glob_problem(pattern):
        yield Message(fault.code, f"{cut(pattern)!r} {fault}")


def _of_rule(rule: Rule) -> Problems:
    """The problems within one rule."""
    if fault := unknown_metric(rule.metric):
        yield ("metric",), fault
    forms = [form for form in FORMS if getattr(rule, form) is not None]
    if len(forms) != 1:
        what = " and ".join(forms) if forms else "none of its keys"
        text = f"the rule {rule.id!r} has {what}: use exactly one of {', '.join(FORMS)}"
        yield tuple(forms[1:2]), Message("not-one-form", text)
    yield from _of_keys_together(rule)
    if not unknown_metric(rule.metric):
        yield from _of_bounds(rule)
        yield from _of_expected(rule)
        yield from _of_increase(rule)


def _of_keys_together(rule: Rule) -> Problems:
    """Keys that need each other."""
    if rule.increase is not None and rule.vs is None:
        text = "increase needs `vs: base` or `vs: baseline`, which says what to compare with"
        yield ("increase",), Message("missing-key", text)
    if rule.increase is None and rule.vs is not None:
        yield ("vs",), Message("unused-key", "vs is only for rules with increase")
    if rule.expect is None and rule.tolerance is not None:
        yield ("tolerance",), Message("unused-key", "tolerance is only for rules with expect")
    if is_gain(rule.metric):
        for form in ("limit", "increase"):
            if getattr(rule, form) is not None:
                text = f"{form} is for costs, but a larger {rule.metric} is better: use at_least or expect"
                yield (form,), Message("limit-on-gain", text)


def _of_bounds(rule: Rule) -> Problems:
    for form, sign in (("limit", 1), ("at_least", -1)):
        bounds: Bounds | None = getattr(rule, form)
        if bounds is None:
            continue
        yield from _without_bounds(form, bounds)
        unfit = [
            ((form, name), message)
            for name in LEVELS
            for message in _unfit(f"{form}.{name}", getattr(bounds, name), rule.metric)
        ]
        yield from unfit
        if not unfit:
            yield from _unreached(form, bounds, sign)


def _of_expected(rule: Rule) -> Problems:
    if rule.expect is not None:
        yield from ((("expect",), message) for message in _unfit("expect", rule.expect, rule.metric))
    if rule.expect is None or rule.tolerance is None:
        return
    if rule.tolerance.signed:
        text = f"tolerance {rule.tolerance} must not have a sign, because it applies in both directions"
        yield ("tolerance",), Message("unexpected-sign", text)
    elif rule.tolerance.unit != PERCENT:
        yield from ((("tolerance",), message) for message in _unfit("tolerance", rule.tolerance, rule.metric))


def _of_increase(rule: Rule) -> Problems:
    increase = rule.increase
    if increase is None:
        return
    yield from _without_bounds("increase", increase)
    for name in LEVELS:
        bound: Quantity | None = getattr(increase, name)
        if bound is None:
            continue
        if not bound.signed:
            text = f"increase.{name} {bound} needs a sign, in quotation marks: '+{bound}'"
            yield ("increase", name), Message("missing-sign", text)
        elif bound.unit != PERCENT and bound.amount:
            unfit = _unfit(f"increase.{name}", bound, rule.metric)
            yield from ((("increase", name), message) for message in unfit)
    if increase.warn and increase.error and increase.warn.unit == increase.error.unit:
        yield from _unreached("increase", increase, 1)
    if increase.and_above is not None:
        unfit = _unfit_least(increase.and_above, rule.metric)
        yield from ((("increase", "and_above"), message) for message in unfit)


def _unfit_least(above: Quantity, metric: str) -> Iterator[Message]:
    """What is wrong with `and_above`."""
    key = "increase.and_above"
    if above.signed or above.unit == PERCENT:
        text = f"{key} {above} must be an amount without a sign, such as {EXAMPLES[unit_of(metric)]}"
        yield Message("not-an-amount", text)
    else:
        yield from _unfit(key, above, metric)


def _unreached(form: str, bounds: Bounds | Increase, sign: int) -> Problems:
    """A warning beyond the error, which never comes: `sign` is 1 where more is worse, -1 where less is."""
    warn, error = bounds.warn, bounds.error
    if warn and error and sign * (warn.amount - error.amount) > 0:
        beyond = "above" if sign > 0 else "below"
        text = f"{form}.warn {warn} is {beyond} {form}.error {error}: it never warns"
        yield (form, "warn"), Message("warn-beyond-error", text)


def _without_bounds(form: str, bounds: Bounds | Increase) -> Problems:
    if bounds.warn is None and bounds.error is None:
        yield (form,), Message("missing-key", f"{form} needs warn, error or both")


def _unfit(key: str, quantity: Quantity | None, metric: str) -> Iterator[Message]:
    """Why a metric cannot be compared with the quantity of a key."""
    unit = unit_of(metric)
    if quantity and not quantity.unit and is_share(metric) and quantity.amount > 1:
        text = f"{key} {quantity} is above 1, and {metric} is a share of 1; did you mean '{quantity} %'?"
        yield Message("share-above-one", text)
    if quantity is None or quantity.unit == unit or (not quantity.unit and unit in COUNTED):
        return
    if not unit and quantity.unit in {PERCENT, TIMES_AS_MUCH}:
        return
    example = EXAMPLES[unit]
    if not quantity.unit:
        text = f"{key} {quantity} has no unit: {metric} is in {unit}, such as {example}"
        yield Message("missing-unit", text)
    else:
        measured = f"in {unit}" if unit else "a share, ratio or count"
        text = f"{key} {quantity} does not fit {metric}, which is {measured}, such as {example}"
        yield Message("wrong-unit", text)


def _valid(tree: Node, broken: set[Loc], name: str, of: type[Item]) -> Iterator[tuple[Loc, Item]]:
    """The items of a list that are valid by themselves, with their places."""
    validator = SchemaValidator(class_schema(of))
    for index, item in enumerate(_items(tree, name)):
        if (name, index) not in broken:
            yield (name, index), validator.validate_python(item)


def _ids(tree: Node) -> list[str]:
    """The ids of all rules, valid or not."""
    rules = _items(tree, "rules")
    return [str(rule["id"]) for rule in rules if isinstance(rule, dict) and "id" in rule]


def _items(tree: Node, name: str) -> tuple[Any, ...]:
    """The items of a list as plain data; none if there is no such list."""
    items = tree.find((name,)).plain() if name in _keys(tree) else ()
    return items if isinstance(items, tuple) else ()


def _keys(tree: Node, *loc: str) -> list[str]:
    """The keys of the mapping at `loc`; none if there is no such mapping."""
    node: Node | None = tree
    for part in loc:
        node = None if node is None else node.step(part)
    return list(node.value) if node is not None and isinstance(node.value, dict) else []
