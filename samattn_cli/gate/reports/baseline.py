"""A baseline: accepted figures in a JSON file that is committed, a sorted line for each.

A line names the samattn that wrote it and its counting, so that a change in samattn is never blamed on a config.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ...encoder.wording import cut
from ...errors import ConfigError, Message, Problem
from ...metric_names import unit_of, unknown_metric
from ...reports import SCHEMA_VERSION
from ...reports.finite import is_finite
from ...version import COUNTING, __version__

KIND = "baseline"
FIGURES = "figures"
REMEDY = "restore the file from git, or remove it and run samattn baseline create"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Why a figure was raised: the rule that it broke, the reason of the user, and the figure before."""

    rule: str
    reason: str
    was: int | float


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure of one config in one profile. `line` is its line in the file, from 1."""

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
        """Its config, profile and metric."""
        return self.config, self.profile, self.metric

    @property
    def counts_as_today(self) -> bool:
        """Whether the samattn that wrote it counts as this one does."""
        return self.counting == COUNTING

    def text(self) -> str:
        """Its line in the file."""
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
    """The figures in the text of a file; `label` is its name in messages.

    Raises:
        ConfigError: at file:line:column, for text that `to_text` did not write.
    """
    entries: dict[Key, Entry] = {}
    for line, column, data in _items(text, label):
        where = f"{label}:{line}:{column}"
        if fault := _fault(data):
            raise _damaged(where, "damaged-figure", fault)
        entry = _entry(data, line)
        if entry.key in entries:
            raise _damaged(where, "figure-twice", f"{' '.join(filter(None, entry.key))} is there twice")
        entries[entry.key] = entry
    return entries


def _damaged(where: str, code: str, fault: str) -> ConfigError:
    return ConfigError([Problem(where, Message(code, f"{fault}: {REMEDY}"))])


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
    """The text of a file as data, if it is a baseline that this samattn reads."""
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"{label}:{error.lineno}:{error.colno}"
        raise _damaged(where, "not-json", f"is not JSON ({error.msg})") from None
    except (RecursionError, ValueError) as error:
        raise _damaged(label, "cannot-read", f"cannot be read ({error})") from None
    start = f"{label}:1:1"
    if not _is_baseline(data) or f'"{FIGURES}"' not in text:  # the key may be written with escapes
        raise _damaged(start, "not-a-baseline", "is not a baseline")
    if data.get("schema_version") != SCHEMA_VERSION:
        text = (
            f"has schema_version {data.get('schema_version')!r}, but this samattn reads only {SCHEMA_VERSION}"
        )
        raise ConfigError([Problem(start, Message("other-schema-version", text))])
    if others := data.keys() - {"kind", "schema_version", FIGURES}:
        raise _damaged(start, "unknown-key", f"{min(others)} is not a key of a baseline")
    return data


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no key may occur twice."""
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a key is there twice")
    return data


def _is_baseline(data: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(data, dict) and data.get("kind") == KIND and isinstance(data.get(FIGURES), list)


TYPES = {"config": str, "profile": str, "metric": str, "unit": str, "samattn": str, "counting": int}
OF_ACCEPTED = {"rule", "reason", "was"}


def _fault(data: Any) -> str:
    """What is wrong with an item; "" if nothing is."""
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
    return _fault_of_acceptance(data["accepted"]) if "accepted" in data else ""


def _fault_of_acceptance(data: Any) -> str:
    is_sound = isinstance(data, dict) and set(data) == OF_ACCEPTED and _is_number(data["was"])
    if not is_sound or not all(
        isinstance(data[key], str) and data[key].strip() for key in ("rule", "reason")
    ):
        return "accepted must have a rule, a reason and a number `was`"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)


def _entry(data: dict[str, Any], line: int) -> Entry:
    keys = {key: value for key, value in data.items() if key not in {"unit", "accepted"}}
    accepted = Accepted(**data["accepted"]) if "accepted" in data else None
    return Entry(**keys, accepted=accepted, line=line)
