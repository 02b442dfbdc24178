"""Loads an `EncoderConfig` from a YAML file or preset and overrides, or reports every problem, each at its place.

The steps: read the document and those that it extends, and merge them (see `documents`); set the overrides; check; build
the frozen model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from ..encoder.applicable_keys import mapping_of, without_replaced_keys
from ..encoder.model import EncoderConfig
from ..encoder.normalize import by_axis, normalized
from ..encoder.registry import version
from ..encoder.tree import Loc, Node, Where
from ..encoder.validate import build
from ..encoder.wording import cut
from ..errors import ConfigError, Message, Problem, did_you_mean
from ..records import dataclass, replace
from .blame import Change, blamed
from .documents import (
    STAGE_KEYS,
    Document,
    Key,
    chain_of,
    entries_of,
    from_python,
    problem_at,
    put_in_stage,
    read_document,
    resolve,
)
from .presets import load_preset
from .sources import DISK, Files
from .yaml12 import MAX_DEPTH, NOT_TEXT, is_text, parse_yaml

Loadable = str | Path | Mapping[str, Any] | EncoderConfig
"""What `load_config` takes."""
INDEX = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"""(?<![\w.+"'-])\d+\.\d+(?![\w.+"'-])""")
Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Override:
    """A value that replaces the file's: `key` is dotted ("stages.0.window_size"), `where` names the option."""

    key: str
    value: Any
    where: str


def parse_override(text: str, option: str = "--set") -> Override:
    """An `Override` from ``KEY=VALUE``; the value is YAML.

    Raises:
        ConfigError: if there is no "=", or the value is not YAML.
    """
    where = option_where(option, text)
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        message = Message("not-key-value", "must be KEY=VALUE, such as 'window_size=8'")
        raise ConfigError([Problem(where, message)])
    key = key.strip()
    return override_of(key, parse_yaml(versions_as_text(key, value), where, located=False), where)


def versions_as_text(key: str, text: str) -> str:
    """YAML for the values of a key; versions of torch in quotes, because 2.10 would be the number 2.1."""
    return NUMBER.sub(r'"\g<0>"', text) if key == "run.torch" else text


def override_of(key: str, value: Node, where: str) -> Override:
    """An override of a key by a value, which may be shorthand."""
    return Override(key, normalized(value, path_of(key)), where)


def path_of(key: str) -> Loc:
    """The path of a dotted key: "stages.0.depth" -> ("stages", 0, "depth")."""
    return tuple(int(part) if INDEX.fullmatch(part) else part for part in key.split("."))


def option_where(option: str, text: str) -> str:
    """An option with its value, as messages show it; cut if long."""
    return f"{option} {cut(text)}"


@dataclass(frozen=True)
class Loaded:
    """A config, the name of its file in messages, and the places of its keys."""

    config: EncoderConfig
    label: str
    tree: Node

    def where(self, key: str) -> Where | None:
        """The place of a key ("window_size", "stages.1.depth", "run.dtype"), which may be in an extended file.

        None for a key that no file sets.
        """
        parts = path_of(key)
        node: Node | None = self.tree
        for part in ("stages", 0, *parts) if parts[0] in STAGE_KEYS else parts:
            node = None if node is None else node.step(part)
        return None if node is None else node.key_where or node.where


def load_config(
    source: Loadable,
    overrides: str | Iterable[str | Override] = (),
    *,
    files: Files = DISK,
) -> EncoderConfig:
    """Load an encoder config.

    Args:
        source: a path to a YAML file, the name of a preset, "-" for standard input, a mapping with the keys of
            a config file, or a config, on which overrides are laid.
        overrides: values that replace the file's, each "key=value" ("window_size=8", "stages.0.depth=4",
            "run.dtype=float16").
        files: where its path and those that it extends lead: the disk, or a commit's files.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
        TypeError: for a source of another type.
    """
    if isinstance(source, EncoderConfig) and not overrides:
        return source
    preset = load_preset(source) if isinstance(source, str) and not overrides and files is DISK else None
    return preset or load_located(source, overrides, files=files).config


def load_located(
    source: Loadable,
    overrides: str | Iterable[str | Override] = (),
    *,
    files: Files = DISK,
) -> Loaded:
    """Like `load_config`, but also returns the places of the keys."""
    if isinstance(source, EncoderConfig):
        source = mapping_of(source)
    if isinstance(source, Mapping):
        document = Document(from_python(source), Path(), "encoder", files)
    elif isinstance(source, str | os.PathLike):
        document = read_document(str(source), Path(), "samattn", files)
    else:
        raise TypeError(
            f"a config is loaded from a path, the name of a preset or a mapping, not {cut(repr(source))}"
        )
    changes = [overrides] if isinstance(overrides, str) else list(overrides)
    return _loaded(document, changes)


def _loaded(document: Document, changes: Sequence[str | Override]) -> Loaded:
    """The config of a document. If it is wrong, it is read again with the families of installed packages."""
    tree = _tree(document, changes)
    try:
        config = build(tree, document.name)
    except ConfigError as error:
        from ..encoder.outside import add_installed  # configs with known words do not need it

        before, unusable = version(), add_installed()
        if version() != before:
            return _loaded(document, changes)
        error = blamed(error, list(_changes(document, list(map(_override, changes)))))
        raise ConfigError((*error.problems, *unusable)) from None
    return Loaded(config, document.root.where.source, tree)


def _tree(document: Document, overrides: Iterable[str | Override], without: Key | None = None) -> Node:
    """The canonical tree of a document, what it extends, and overrides, `without` one key of one of the documents."""
    return by_axis(normalized(_with_overrides(resolve(document, (), without), list(overrides))))


def _changes(document: Document, overrides: Sequence[Override]) -> Iterator[Change]:
    """Every value that replaces another: each override, then each key of the documents that extend others."""
    for at, override in enumerate(overrides):
        others = [*overrides[:at], *overrides[at + 1 :]]
        yield Change(override.where, (), partial(_build, document, others))
    documents = list(chain_of(document))
    for at, extending in enumerate(documents):
        label = extending.root.where.source
        bases = tuple(base.root.where.source for base in documents[at + 1 :])
        for key, node in entries_of(extending.root).items() if bases else ():
            if key != "extends":
                yield Change(str(node.where), bases, partial(_build, document, overrides, (label, key)))


def _build(document: Document, overrides: Sequence[Override], without: Key | None = None) -> None:
    build(_tree(document, overrides, without), document.name)


def _override(override: str | Override) -> Override:
    return override if isinstance(override, Override) else parse_override(override, "override")


def _with_overrides(tree: Node, overrides: Sequence[str | Override]) -> Node:
    """The tree with the keys of all overrides set. No override drops keys that another override sets."""
    problems: list[list[Problem]] = [[] for _ in overrides]
    parsed = [
        _or_note(noted, override, _override) for noted, override in zip(problems, overrides, strict=True)
    ]
    words = ((one.key, getattr(one.value, "value", one.value)) for one in parsed if one is not None)
    tree = without_replaced_keys(tree, words)
    for noted, override in zip(problems, parsed, strict=True):
        if override is not None:
            _or_note(noted, override, partial(_apply, tree))
    if any(problems):
        raise ConfigError(chain.from_iterable(problems))
    return tree


def _or_note(noted: list[Problem], value: Argument, act: Callable[[Argument], Result]) -> Result | None:
    """The result of `act(value)`; if it raises, its problems are added to `noted`, and the result is None."""
    try:
        return act(value)
    except ConfigError as error:
        noted += error.problems
    return None


def _apply(tree: Node, override: Override) -> None:
    """Set one dotted key in `tree`.

    Raises:
        ConfigError: if the key or its value cannot be set there.
    """
    value = override.value
    where = Where(override.where)
    node = replace(value, key_where=where) if isinstance(value, Node) else from_python(value, where)
    if not is_text(override.key):
        raise problem_at(where, Message("not-utf-8", f"the key {override.key!r} {NOT_TEXT}"))
    first, *rest = override.key.split(".", MAX_DEPTH)
    if len(rest) == MAX_DEPTH:
        raise problem_at(where, Message("unknown-key", "the key is deeper than any key of a config"))
    if first == "extends":
        message = "extends can be set only in a file: to use another config, give it as CONFIG"
        raise problem_at(where, Message("bad-extends", message))
    if first in STAGE_KEYS:
        stages = entries_of(tree)["stages"].value
        stage = entries_of(stages[0]) if isinstance(stages, list) and stages else {}
        inner = _set(stage.get(first, Node({}, where)), rest, node, where)
        put_in_stage(tree, {first: replace(inner, key_where=where)})
        return
    entries_of(tree).update(_set(tree, [first, *rest], node, where).value)  # type: ignore[arg-type]


def _set(parent: Node, keys: list[str], node: Node, where: Where) -> Node:
    """A copy of `parent` with the value at the path `keys` replaced."""
    if not keys:
        return node
    key, *rest = keys
    if isinstance(parent.value, dict):
        child = parent.value.get(key, Node({}, where, where) if rest else node)
        return replace(parent, value={**parent.value, key: _set(child, rest, node, where)})
    if isinstance(parent.value, list):
        items = list(parent.value)
        indexes = [str(index) for index in range(len(items))]
        if key not in indexes:
            known = {0: "it is empty", 1: "use 0"}.get(len(items), f"use 0 to {len(items) - 1}")
            message = f"{key!r} is not an index of this list: {known}"
            raise problem_at(where, Message("not-an-index", message))
        index = int(key)
        items[index] = _set(items[index], rest, node, where)
        return replace(parent, value=items)
    hint = did_you_mean(key, (field.name for field in fields(EncoderConfig)))
    message = f"{key!r} cannot be set, because its parent is a plain value, not a mapping{hint}"
    raise problem_at(where, Message("not-a-mapping", message))
