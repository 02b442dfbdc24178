"""The keys of every report, read off its dataclass: as a page, and as what JSON is checked against.

`tests/golden/report-keys.txt` is that page: who reads samattn's JSON relies on it, so that a key that goes, or
changes its type, shows in a diff of the page.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from textwrap import wrap
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from samattn_cli.reports.text import FILES, HEAD, KINDS

WIDTH = 118
SCALARS = {int: int, float: int | float, str: str, bool: bool, type(None): type(None)}


def report_class(kind: str) -> type:
    """The dataclass of a kind of report."""
    module, _, name = KINDS[kind].rpartition(".")
    return getattr(import_module(module, "samattn_cli.reports"), name)


def classes() -> dict[str, type]:
    """The dataclasses that JSON is made of, by name: of each kind of report, then of what stands in it."""
    recording = import_module(FILES["recording"], "samattn_cli.reports").Recording
    found: dict[str, type] = {}
    for report in (*map(report_class, KINDS), recording):
        _collect(report, found)
    return found


def _collect(annotation: Any, found: dict[str, type]) -> None:
    if is_dataclass(annotation) and annotation.__name__ not in found:
        found[annotation.__name__] = annotation
        for kind in (*_bases(annotation), *get_type_hints(annotation).values()):
            _collect(kind, found)
    for part in get_args(annotation):
        _collect(part, found)


def _bases(record: type) -> list[type]:
    return [base for base in record.__bases__ if is_dataclass(base)]


def page() -> str:
    """A paragraph for each class: the keys that it adds to those of its base, and their types."""
    return "".join(_paragraph(record) for record in classes().values() if not _is_of_config(record))


def _is_of_config(record: type) -> bool:
    """Whether it is part of a config, whose keys are in configs/schema.json."""
    return record.__module__.startswith("samattn_cli.encoder")


def _paragraph(record: type) -> str:
    bases = _bases(record)
    inherited = {field.name for base in bases for field in fields(base)}
    keys = [f"{field.name}: {field.type}" for field in fields(record) if field.name not in inherited]
    text = f"{record.__name__}({', '.join([*(f'*{base.__name__}' for base in bases), *keys])})"
    return "\n".join(wrap(text, WIDTH, subsequent_indent="    ")) + "\n"


def problems(value: Any, annotation: Any, where: str) -> Iterator[str]:
    """Where parsed JSON is not as the type has it: keys, their order, and the type of every value."""
    if is_dataclass(annotation):
        yield from _of_record(value, annotation, where)
    elif get_origin(annotation) is tuple:
        yield from _of_list(value, get_args(annotation), where)
    elif get_origin(annotation) in (Union, types.UnionType):
        if all(any(problems(value, option, where)) for option in get_args(annotation)):
            yield f"{where}: {value!r} is not {annotation}"
    elif get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            yield f"{where}: {value!r} is not one of {get_args(annotation)}"
    elif isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping):
        for key, entry in value.items():
            yield from problems(entry, get_args(annotation)[1], f"{where}.{key}")
    elif annotation is not Any and not _is_scalar(value, annotation):
        yield f"{where}: {value!r} is not {annotation}"


def _is_scalar(value: Any, annotation: type) -> bool:
    return isinstance(value, SCALARS[annotation]) and (annotation is bool or not isinstance(value, bool))


def _of_record(value: Any, record: type, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is not a {record.__name__}"
        return
    hints = get_type_hints(record)
    names = [field.name for field in fields(record)]
    if "schema_version" in names:
        names = [name for name in dict.fromkeys((*HEAD, *names)) if name in names]
    if _is_of_config(record):  # a config has the keys that apply to it
        names = [name for name in names if name in value]
    if list(value) != names:
        yield f"{where}: has the keys {list(value)}, not {names}"
        return
    for name in names:
        yield from problems(value[name], hints[name], f"{where}.{name}")


def _of_list(value: Any, of: tuple[Any, ...], where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{where}: {value!r} is not a list"
        return
    kinds = [of[0]] * len(value) if of[-1] is Ellipsis else list(of)
    if len(kinds) != len(value):
        yield f"{where}: has {len(value)} values, not {len(kinds)}"
    for number, (entry, kind) in enumerate(zip(value, kinds, strict=False)):
        yield from problems(entry, kind, f"{where}[{number}]")
