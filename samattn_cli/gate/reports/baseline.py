"""A baseline: figures as they were accepted, in a JSON file that is committed, one a line, sorted.

A line says which samattn wrote it and how that counted, so that a change in samattn is never taken for one in a config.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ...encoder.wording import cut
from ...errors import ConfigError, Problem
from ...metric_names import unit_of, unknown_metric
from ...reports import SCHEMA_VERSION
from ...reports.finite import is_finite
from ...version import COUNTING, __version__

KIND = "baseline"
FIGURES = "figures"
REMEDY = "restore it from git, or make it anew with samattn baseline create"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Why a figure may be above what it was: the rule that it would have broken, the reason given, and what it was."""

    rule: str
    reason: str
    was: int | float


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure of one config in one profile; `line` is where it stands in its file, from 1."""

    config: str
    profile: str
    metric: str
    value: int | float
    samattn: str = __version__
    counting: int = COUNTING
    accepted: Accepted | None = None
    line: int | None = None

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.config, self.profile, self.metric

    @property
    def counts_as_today(self) -> bool:
        """Whether the samattn that wrote it counted as this one does."""
        return self.counting == COUNTING

    def text(self) -> str:
        """Its line."""
        data: dict[str, Any] = {
            name: getattr(self, name) for name in ("config", "profile", "metric", "value")
        }
        data |= {"unit": unit_of(self.metric), "samattn": self.samattn, "counting": self.counting}
        if self.accepted:
            data["accepted"] = vars(self.accepted)
        return json.dumps(data, allow_nan=False)


Key = tuple[str, str, str]
"""Config, profile and metric."""


def to_text(entries: Sequence[Entry]) -> str:
    """The file's text."""
    lines = ",\n".join(entry.text() for entry in sorted(entries, key=lambda entry: entry.key))
    return f'{{"kind": "{KIND}", "schema_version": {SCHEMA_VERSION}, "{FIGURES}": [\n{lines}\n]}}\n'


def from_json(text: str, label: str) -> dict[Key, Entry]:
    """The figures of a file's text; `label` is what messages call it.

    Raises:
        ConfigError: at file:line:column, for text that `to_text` did not write.
    """
    found: dict[Key, Entry] = {}
    for line, column, data in _items(text, label):
        where = f"{label}:{line}:{column}"
        if problem := _problem(data):
            raise ConfigError([Problem(where, f"{problem}: {REMEDY}")])
        entry = _entry(data, line)
        if entry.key in found:
            raise ConfigError([Problem(where, f"{' '.join(filter(None, entry.key))} stands twice: {REMEDY}")])
        found[entry.key] = entry
    return found


def _items(text: str, label: str) -> Iterator[tuple[int, int, Any]]:
    """Each item of the list of figures, and the line and column where it begins."""
    data = _parsed(text, label)
    offset, line, counted = text.index("[", text.index(f'"{FIGURES}"')) + 1, 1, 0
    for _ in data[FIGURES]:
        while text[offset] in " \t\r\n,":
            offset += 1
        line, counted = line + text.count("\n", counted, offset), offset
        column = offset - text.rfind("\n", 0, offset)
        item, offset = json.JSONDecoder().raw_decode(text, offset)
        yield line, column, item


def _parsed(text: str, label: str) -> dict[str, Any]:
    """A file's text as data, if it is a baseline that can be read here."""
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"{label}:{error.lineno}:{error.colno}"
        raise ConfigError([Problem(where, f"is not JSON ({error.msg}): {REMEDY}")]) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError([Problem(label, f"cannot be read ({error}): {REMEDY}")]) from None
    if not _is_baseline(data) or f'"{FIGURES}"' not in text:  # but spelt with escapes
        raise ConfigError([Problem(f"{label}:1:1", f"is not a baseline: {REMEDY}")])
    if data.get("schema_version") != SCHEMA_VERSION:
        said = f"has schema_version {data.get('schema_version')!r}; this samattn reads {SCHEMA_VERSION}"
        raise ConfigError([Problem(f"{label}:1:1", said)])
    if others := data.keys() - {"kind", "schema_version", FIGURES}:
        raise ConfigError([Problem(f"{label}:1:1", f"{min(others)} is not a key of a baseline: {REMEDY}")])
    return data


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no key may hide another of its name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _is_baseline(data: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(data, dict) and data.get("kind") == KIND and isinstance(data.get(FIGURES), list)


TYPES = {"config": str, "profile": str, "metric": str, "unit": str, "samattn": str, "counting": int}
OF_ACCEPTED = {"rule", "reason", "was"}


def _problem(data: Any) -> str:
    """What is wrong with an item; "" if nothing."""
    if not isinstance(data, dict):
        return "is not a figure"
    if wrong := set(data) ^ {*TYPES, "value", *(["accepted"] if "accepted" in data else [])}:
        return f"{min(wrong)} is {'not a key of a figure' if min(wrong) in data else 'missing'}"
    if wrong := {name for name, kind in TYPES.items() if type(data[name]) is not kind}:
        return f"{min(wrong)} is {cut(repr(data[min(wrong)]))}"
    if not _is_number(data["value"]):
        return f"value is {cut(repr(data['value']))}, not a finite number"
    if unknown_metric(data["metric"]) or data["unit"] != unit_of(data["metric"]):
        return unknown_metric(data["metric"]) or f"{data['metric']} is not in {data['unit']!r}"
    return _problem_of_acceptance(data["accepted"]) if "accepted" in data else ""


def _problem_of_acceptance(data: Any) -> str:
    is_sound = isinstance(data, dict) and set(data) == OF_ACCEPTED and _is_number(data["was"])
    if not is_sound or not all(
        isinstance(data[key], str) and data[key].strip() for key in ("rule", "reason")
    ):
        return "accepted has not a rule, a reason and what it was"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)


def _entry(data: dict[str, Any], line: int) -> Entry:
    given = {key: value for key, value in data.items() if key not in {"unit", "accepted"}}
    accepted = Accepted(**data["accepted"]) if "accepted" in data else None
    return Entry(**given, accepted=accepted, line=line)
