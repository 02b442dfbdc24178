"""What a thresholds file allows now and did not before. Quantities are compared, not the text in which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Literal

from ..encoder.tree import Loc
from ..errors import Message
from ..metric_names import path_of
from ..quantities import PERCENT, Quantity
from .evaluate import side, slack
from .load_thresholds import ThresholdsFile
from .thresholds import FORMS, LEVELS, Action, Policy, Profile, Rule, Thresholds, Waiver

STRICTNESS: tuple[Action, ...] = ("ignore", "warn", "error")
NONE = "none"


@dataclass(frozen=True)
class Change:
    """One thing that is allowed now.

    Attributes:
        kind: the key of `policy` that decides about it.
        summary: a sentence.
        now: its place in the file, or the nearest one.
        then: its old place, if the file no longer has it.
    """

    kind: Literal["loosened", "removed"]
    summary: Message
    now: Loc
    then: Loc | None = None


@dataclass(frozen=True)
class Pair:
    """A rule then and now, with its index now."""

    then: Rule
    now: Rule
    index: int


def loosened(before: ThresholdsFile, now: ThresholdsFile) -> Iterator[Change]:
    """Everything that is looser now than before. Anything stricter is not reported."""
    pairs = same_rules(before, now)
    kept = {pair.then.id for pair in pairs}
    for index, rule in enumerate(before.thresholds.rules):
        if rule.id not in kept:
            message = Message("rule-removed", f"the rule {rule.id!r} was removed")
            yield Change("removed", message, ("rules",), ("rules", index))
    for pair in pairs:
        for key, what in _of_rule(pair, before, now):
            message = Message("rule-loosened", f"the rule {pair.now.id!r} was loosened: {what}")
            yield Change("loosened", message, ("rules", pair.index, *key))
    yield from _of_profiles(before, now, pairs)
    yield from _of_targets(before.thresholds, now.thresholds)
    yield from _of_waivers(before.thresholds.waivers, now.thresholds.waivers, pairs)
    yield from _of_policy(before.thresholds.policy, now.thresholds.policy)


def strictest(actions: Iterable[Action]) -> Action:
    """The strictest of some actions."""
    return max(actions, key=STRICTNESS.index)


def same_rules(before: ThresholdsFile, now: ThresholdsFile) -> list[Pair]:
    """The rules that are in both files: those with the same id, and those that differ only in their id."""
    rules = list(enumerate(now.thresholds.rules))
    by_id = {rule.id: (index, rule) for index, rule in rules}
    new = [
        (index, rule) for index, rule in rules if rule.id not in {old.id for old in before.thresholds.rules}
    ]
    pairs = []
    for old in before.thresholds.rules:
        alike = ((index, rule) for index, rule in new if _meaning(rule) == _meaning(old))
        same = by_id.get(old.id) or next(alike, None)
        if same:
            pairs.append(Pair(old, same[1], same[0]))
    return pairs


def _meaning(rule: Rule) -> tuple[Any, ...]:
    """Everything of a rule except its id and its message."""
    bounds = [getattr(rule, form) for form in ("limit", "at_least", "increase")]
    amounts = [_amount(getattr(bound, field.name)) for bound in bounds if bound for field in fields(bound)]
    forms = tuple(getattr(rule, form) is not None for form in FORMS)
    expected = (_amount(rule.expect), slack(rule))
    return (rule.match, rule.profile, path_of(rule.metric), rule.vs, forms, *amounts, *expected)


def _amount(quantity: Quantity | None) -> tuple[Fraction, bool] | None:
    return None if quantity is None else (quantity.amount, quantity.unit == PERCENT)


# -- rules --


def _of_rule(pair: Pair, before: ThresholdsFile, now: ThresholdsFile) -> Iterator[tuple[Loc, str]]:
    """Everything that is looser in a rule: the key, and the change."""
    then, rule = pair.then, pair.now
    if path_of(then.metric) != path_of(rule.metric):
        yield ("metric",), f"metric {then.metric} -> {rule.metric}"
        return
    if then.profile != rule.profile and not _runs_alike(then.profile, rule.profile, before, now):
        yield ("profile",), f"profile {then.profile or NONE} -> {rule.profile or NONE}"
    old, new = _form(then), _form(rule)
    if old != new:
        yield (new,), f"{old} was replaced by {new}"
    elif then.vs != rule.vs:
        yield ("vs",), f"vs {then.vs} -> {rule.vs}"
    elif new == "expect":
        yield from _of_expected(then, rule)
    else:
        yield from _of_bounds(new, getattr(then, new), getattr(rule, new))


def _form(rule: Rule) -> str:
    return next(form for form in FORMS if getattr(rule, form) is not None)


def _of_expected(then: Rule, rule: Rule) -> Iterator[tuple[Loc, str]]:
    assert then.expect is not None  # noqa: S101 - both expect something; for the type checker
    assert rule.expect is not None  # noqa: S101 - likewise
    if then.expect.amount != rule.expect.amount:
        yield ("expect",), f"expect {then.expect} -> {rule.expect}"
    elif slack(rule) > slack(then):
        yield ("tolerance",), f"tolerance {then.tolerance or NONE} -> {rule.tolerance}"


def _of_bounds(form: str, then: Any, now: Any) -> Iterator[tuple[Loc, str]]:
    """Of `limit`, `at_least` and `increase`. An `error` that is as strict as the old `warn` may replace it."""
    as_strict = {"limit": _lower, "at_least": _higher, "increase": _grows_less}[form]
    for level in LEVELS:
        was: Quantity | None = getattr(then, level)
        levels = LEVELS if level == "warn" else ("error",)
        bounds = [bound for name in levels if (bound := getattr(now, name)) is not None]
        if was is not None and not any(as_strict(bound, was) for bound in bounds):
            new = getattr(now, level)
            key = (form, level) if new is not None else (form,)
            yield key, f"{form}.{level} {was} -> {new or NONE}"
    was, new = getattr(then, "and_above", None), getattr(now, "and_above", None)
    if new is not None and new.amount > (was.amount if was else 0):
        yield (form, "and_above"), f"{form}.and_above {was or NONE} -> {new}"


def _lower(bound: Quantity, was: Quantity) -> bool:
    return bound.amount <= was.amount


def _higher(bound: Quantity, was: Quantity) -> bool:
    return bound.amount >= was.amount


def _grows_less(bound: Quantity, was: Quantity) -> bool:
    """A percentage and an amount cannot be compared, unless one of them is not above 0 and the other not below."""
    if (bound.unit == PERCENT) != (was.unit == PERCENT):
        return bound.amount <= 0 <= was.amount
    return bound.amount <= was.amount


# -- profiles --


def _runs_alike(then: str, name: str, before: ThresholdsFile, now: ThresholdsFile) -> bool:
    return not list(_differences(then, name, before, now))


def _of_profiles(before: ThresholdsFile, now: ThresholdsFile, pairs: Sequence[Pair]) -> Iterator[Change]:
    """Profiles that run encoders differently, so that their rules check something else."""
    used: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.then.profile == pair.now.profile:
            used.setdefault(pair.now.profile, []).append(pair.now.id)
    for profile, rules in used.items():
        for key, what in _differences(profile, profile, before, now):
            node = now.tree.find(("profiles", profile)).step(key)
            where: Loc = ("profiles", profile, key) if node is not None else ("profiles", profile)
            ids = ", ".join(map(repr, rules))
            text = f"the profile {profile!r} of {ids} runs encoders differently: {what}"
            yield Change("loosened", Message("profile-changed", text), where)


def _differences(
    then: str, name: str, before: ThresholdsFile, now: ThresholdsFile
) -> Iterator[tuple[str, str]]:
    """The keys in which two profiles differ, and both values."""
    old, new = before.profile(then), now.profile(name)
    for field in fields(Profile):
        was, value = _or_none(getattr(old, field.name)), _or_none(getattr(new, field.name))
        if was != value:
            yield field.name, f"{field.name} {_shown(was)} -> {_shown(value)}"
        elif field.name == "device" and before.device(then) != now.device(name):
            yield field.name, f"the file of the device {value} was changed"


def _of_targets(before: Thresholds, now: Thresholds) -> Iterator[Change]:
    """Modules that are traced in another way, so that the same limits are of something else."""
    then = before.targets
    for path, (index, target) in now.targets.items():
        old = then[path][1] if path in then else target
        for key, what in old.changes_to(target):
            message = Message("target-changed", f"{path} is traced differently: {what}")
            yield Change("loosened", message, ("configs", index, "trace", key))


def _or_none(value: Any) -> Any:
    """The value of a profile's key; None if it is empty, which is the same as leaving the key out. False is not empty."""
    return None if value in ("", {}, ()) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return str(value[0]) if value[0] == value[1] else "x".join(map(str, value))
    return NONE if value is None else str(value)


# -- waivers and policy --


def _of_waivers(before: Sequence[Waiver], now: Sequence[Waiver], pairs: Sequence[Pair]) -> Iterator[Change]:
    """Waivers of old rules that reach further, or last longer, than any old waiver."""
    then = {pair.now.id: pair.then.id for pair in pairs}
    rules = {pair.now.id: pair.now for pair in pairs}
    for index, waiver in enumerate(now):
        if waiver.rule not in then:
            continue
        earlier = [old for old in before if (old.rule, old.config) == (then[waiver.rule], waiver.config)]
        sign = side(rules[waiver.rule], waiver.upto.amount)
        if any(
            sign * (waiver.upto.amount - old.upto.amount) <= 0 and waiver.expires <= old.expires
            for old in earlier
        ):
            continue
        of = f"waiver of {waiver.rule!r} for {waiver.config}"
        new = f"up to {waiver.upto} until {waiver.expires}"
        text = f"the {of} was {'extended' if earlier else 'added'}: {new}"
        was = f", was up to {earlier[0].upto} until {earlier[0].expires}" if earlier else f": {waiver.reason}"
        yield Change("loosened", Message("waiver-loosened", text + was), ("waivers", index))


def _of_policy(before: Policy, now: Policy) -> Iterator[Change]:
    for field in fields(Policy):
        was, action = getattr(before, field.name), getattr(now, field.name)
        if STRICTNESS.index(action) < STRICTNESS.index(was):
            message = Message("policy-loosened", f"the policy was loosened: {field.name} {was} -> {action}")
            yield Change("loosened", message, ("policy", field.name))
