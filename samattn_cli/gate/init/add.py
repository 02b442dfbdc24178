"""Adds limits of encoders to the text of a thresholds file. Everything else stays as it is, including comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ...errors import ConfigError, UsageError
from ...files.globs import matches
from ...files.sources import Source
from ..load_thresholds import FILE, ThresholdsFile, thresholds_of
from ..thresholds import Rule
from .files import amount, rule_of, scalar, title
from .limits import Limit, Limits, limits_of

NOT_PLAIN = "&|>"
"""The first characters, in YAML, of an anchor and of blocks of lines."""

UNFIT = "limits cannot be added to the file as it is written: write its lists with one item on each line"

Edit = tuple[int, int, str]
"""The start and end of some characters, and what replaces them."""


@dataclass(frozen=True)
class Addition:
    """The new text of a file, and how many limits were added to it or changed."""

    text: str
    added: int
    changed: int


def more_limits(file: ThresholdsFile, configs: Sequence[str], *, renew: bool) -> Addition:
    """A thresholds file on the disk with limits of more encoders, in each profile in which it has limits.

    Args:
        file: the thresholds.
        configs: the encoders, as paths from the working directory or names of presets.
        renew: whether to change limits that the file has of them; else they stay.

    Raises:
        ConfigError: if an encoder cannot be loaded.
        UsageError: if limits cannot be added to the text as it is written.
    """
    text = (file.folder / FILE).read_bytes().decode()  # keeps a byte order mark and the ends of lines
    rules = file.thresholds.rules
    profiles = list(dict.fromkeys(rule.profile for rule in rules if rule.limit)) or [""]
    ids = {rule.id: rule.match for rule in rules}
    limits = {
        profile: limits_of(
            configs,
            file.folder,
            file.overrides(profile),
            file.device(profile),
            ids,
            f"-{profile}" if profile and len(profiles) > 1 else "",
        )
        for profile in profiles
    }
    new = with_limits(file, text, limits, renew=renew)
    check_kept(file, new.text, renew=renew)
    return new


def with_limits(
    file: ThresholdsFile, text: str, of_profiles: Mapping[str, Sequence[Limits]], *, renew: bool
) -> Addition:
    """The text of a file with more limits.

    Args:
        file: the thresholds.
        text: of their file.
        of_profiles: by profile ("" for none), the limits of encoders.
        renew: whether to change the file's limits of the same metrics; else they stay.

    Raises:
        UsageError: if limits cannot be added to the text as it is written.
    """
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    nodes = {key.value: value for key, value in root.value}
    rules = file.thresholds.rules
    existing = {
        (profile, encoder.path, limit.metric): _limit_of(rules, profile, encoder.pattern, limit.metric)
        for profile, encoders in of_profiles.items()
        for encoder in encoders
        for limit in encoder.limits
    }
    edits: list[Edit] = []
    lines: list[str] = []
    changed = 0
    for profile, encoders in of_profiles.items():
        for encoder in encoders:
            new = [limit for limit in encoder.limits if existing[profile, encoder.path, limit.metric] is None]
            lines += _lines(encoder, new, profile)
            for limit in encoder.limits if renew else ():
                index = existing[profile, encoder.path, limit.metric]
                if index is not None and (edit := _renewed(nodes["rules"].value[index], limit, text)):
                    edits.append(edit)
                    changed += 1
    patterns = dict.fromkeys(
        encoder.pattern
        for encoders in of_profiles.values()
        for encoder in encoders
        if not _is_named(file, encoder)
    )
    edits += _appended(nodes["configs"], [scalar(pattern) for pattern in patterns], text)
    edits += _appended(nodes["rules"], lines, text)
    added = sum(not line.startswith("#") for line in lines)
    return Addition(_edited(text, edits, end_of_line), added, changed)


def _limit_of(rules: Sequence[Rule], profile: str, pattern: str, metric: str) -> int | None:
    """The index of the rule that limits a metric of one encoder only, as `samattn init` writes it."""
    wanted = (pattern, metric, profile)
    indexes = (
        index
        for index, rule in enumerate(rules)
        if (rule.match, rule.metric, rule.profile) == wanted and rule.limit is not None
    )
    return next(indexes, None)


def _renewed(rule: Any, limit: Limit, text: str) -> Edit | None:
    """The edit that changes the limit of a rule; None if it has this limit, or has `warn` and `error`.

    Raises:
        UsageError: if the limit is written as an anchor, an alias or a block of lines.
    """
    value = next(value for key, value in rule.value if key.value == "limit")
    if not isinstance(value, yaml.ScalarNode) or value.value == limit.most:
        return None
    start, end = value.start_mark.index, value.end_mark.index
    if text[start] in NOT_PLAIN or not _is_within(value, rule):
        line = rule.start_mark.line + 1
        raise UsageError(
            "limit-not-plain",
            f"the limit of the rule in line {line} is a YAML anchor, alias or block, which cannot be changed: "
            "write it as a number and a unit; nothing was written",
        )
    return start, end, amount(limit.most)


def _is_within(value: Any, node: Any) -> bool:
    """Whether a value is in its mapping. An alias is not: its place is that of the anchor."""
    return bool(node.start_mark.index <= value.start_mark.index < node.end_mark.index)


def _lines(encoder: Limits, limits: Sequence[Limit], profile: str) -> Iterator[str]:
    if limits:
        yield f"# {title(encoder)}"
    yield from (rule_of(encoder, limit, profile) for limit in limits)


def _is_named(file: ThresholdsFile, encoder: Limits) -> bool:
    return any(matches(entry.path, encoder.path) for entry in file.thresholds.configs)


def _appended(node: Any, lines: Sequence[str], text: str) -> Iterator[Edit]:
    """Items added to the end of a list, in the style of the list."""
    if not lines:
        return
    if node.flow_style:
        items = ", ".join(line for line in lines if not line.startswith("#"))
        end = node.end_mark.index - 1
        has_comma = not node.value or text[:end].rstrip().endswith(",")
        yield end, end, f"{'' if has_comma else ', '}{items}"
        return
    end = _end_of_items(node, text)
    indent = " " * node.start_mark.column
    marked = (f"{indent}{line if line.startswith('#') else f'- {line}'}\n" for line in lines)
    before = "" if text[:end].endswith("\n") else "\n"
    yield end, end, before + "".join(marked)


def _end_of_items(node: Any, text: str) -> int:
    """The start of the line after the last item. Comments and empty lines that follow stay after new items."""
    lines = text[: node.end_mark.index].splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    end = sum(map(len, lines))
    rest = text[end:].partition("\n")[0] if lines and not lines[-1].endswith("\n") else ""
    return end + len(rest)


def _edited(text: str, edits: Iterable[Edit], end_of_line: str) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new.replace("\n", end_of_line) + text[end:]
    return text


def check_kept(file: ThresholdsFile, text: str, *, renew: bool) -> None:
    """See that the new text of a file keeps everything that the file has.

    Raises:
        UsageError: if it does not.
    """
    try:
        new = Source(text.removeprefix("\ufeff"), file.label, FILE, file.folder, file.files)
        before, after = file.thresholds, thresholds_of(new).thresholds
    except ConfigError:
        raise UsageError("cannot-add-limits", UNFIT) from None
    count = len(before.rules)
    kept = [_without_limit(rule) if renew else rule for rule in before.rules]
    there = [_without_limit(rule) if renew else rule for rule in after.rules[:count]]
    others = [(each.profiles, each.policy, each.waivers) for each in (before, after)]
    if there != kept or others[0] != others[1] or after.configs[: len(before.configs)] != before.configs:
        raise UsageError("cannot-add-limits", UNFIT)


def _without_limit(rule: Rule) -> tuple[Any, ...]:
    return tuple(value for name, value in vars(rule).items() if name != "limit")
