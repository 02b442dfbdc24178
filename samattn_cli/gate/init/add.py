"""A thresholds file with the limits of more encoders; all else in it stays as it was written, comments too."""

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
from .limits import Limit, Limits

NOT_PLAIN = "&|>"
"""How what is more than a value begins in YAML: an anchor, a block of lines."""

UNFIT = "the file is written in a way in which nothing can be added: write its lists with one item to a line"

Edit = tuple[int, int, str]
"""What stands in place of the characters from one index to another."""


@dataclass(frozen=True)
class Addition:
    """The text of a file, and what is new in it: how many limits were added, how many were set to another figure."""

    text: str
    added: int
    changed: int


def with_limits(
    file: ThresholdsFile, text: str, of_profiles: Mapping[str, Sequence[Limits]], *, renew: bool
) -> Addition:
    """A file's text with limits.

    Args:
        file: the thresholds.
        text: their file's text.
        of_profiles: by the profile ("" is none), the encoders with their limits.
        renew: limits that the file has of the same metrics are set to the new ones; else they stay.

    Raises:
        UsageError: if the text is written in a way in which nothing can be added.
    """
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    nodes = {key.value: value for key, value in root.value}
    rules = file.thresholds.rules
    held = {
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
            new = [limit for limit in encoder.limits if held[profile, encoder.path, limit.metric] is None]
            lines += _lines(encoder, new, profile)
            for limit in encoder.limits if renew else ():
                index = held[profile, encoder.path, limit.metric]
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
    """The rule that limits a metric of one encoder and no other, as `samattn init` writes it, by its index."""
    wanted = (pattern, metric, profile)
    found = (
        index
        for index, rule in enumerate(rules)
        if (rule.match, rule.metric, rule.profile) == wanted and rule.limit is not None
    )
    return next(found, None)


def _renewed(rule: Any, limit: Limit, text: str) -> Edit | None:
    """The limit in place of the one that a rule has; None if it has that, or says more than one value.

    Raises:
        UsageError: for a limit with an anchor, one that is an alias, and a block of lines.
    """
    value = next(value for key, value in rule.value if key.value == "limit")
    if not isinstance(value, yaml.ScalarNode) or value.value == limit.most:
        return None
    start, end = value.start_mark.index, value.end_mark.index
    if text[start] in NOT_PLAIN or not _is_within(value, rule):
        line = rule.start_mark.line + 1
        raise UsageError(
            f"the rule in line {line} has its limit as a YAML anchor, alias or block, which cannot be set anew: "
            "write it as a number and a unit; nothing was written"
        )
    return start, end, amount(limit.most)


def _is_within(value: Any, node: Any) -> bool:
    """Whether a value stands in its mapping; of an alias it stands where its anchor is."""
    return bool(node.start_mark.index <= value.start_mark.index < node.end_mark.index)


def _lines(encoder: Limits, limits: Sequence[Limit], profile: str) -> Iterator[str]:
    if limits:
        yield f"# {title(encoder)}"
    yield from (rule_of(encoder, limit, profile) for limit in limits)


def _is_named(file: ThresholdsFile, encoder: Limits) -> bool:
    return any(matches(pattern, encoder.path) for pattern in file.thresholds.configs)


def _appended(node: Any, lines: Sequence[str], text: str) -> Iterator[Edit]:
    """Items at the end of a list, in its own style."""
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
    """Where the line after the last item begins: what follows of comments and empty lines comes after what is added."""
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
    """See that nothing that was in a file is lost or another in its new text.

    Raises:
        UsageError: if it is.
    """
    try:
        new = Source(text.removeprefix("\ufeff"), file.label, FILE, file.folder, file.files)
        before, after = file.thresholds, thresholds_of(new).thresholds
    except ConfigError:
        raise UsageError(UNFIT) from None
    count = len(before.rules)
    kept = [_without_limit(rule) if renew else rule for rule in before.rules]
    there = [_without_limit(rule) if renew else rule for rule in after.rules[:count]]
    others = [(each.profiles, each.policy, each.waivers) for each in (before, after)]
    if there != kept or others[0] != others[1] or after.configs[: len(before.configs)] != before.configs:
        raise UsageError(UNFIT)


def _without_limit(rule: Rule) -> tuple[Any, ...]:
    return tuple(value for name, value in vars(rule).items() if name != "limit")
