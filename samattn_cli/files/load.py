"""YAML files, presets and overrides to one `EncoderConfig`, or to every problem there is, each at its place.

The steps: read the document and those it extends, and lay them over each other (see `documents`); lay the overrides over
them; check; build the frozen model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from ..encoder.applicable_keys import without_replaced_keys
from ..encoder.model import EncoderConfig
from ..encoder.normalize import normalized
from ..encoder.registry import version
from ..encoder.tree import Loc, Node, Where
from ..encoder.validate import build
from ..encoder.wording import cut
from ..errors import ConfigError, Problem, did_you_mean
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
from .sources import DISK, Files
from .yaml12 import MAX_DEPTH, NOT_TEXT, is_text, parse_yaml

INDEX = re.compile(r"[0-9]{1,9}")
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Override:
    """A value laid over the file: `key` is dotted ("stages.0.window_size"), `where` names the option it came from."""

    key: str
    value: Any
    where: str


def parse_override(text: str, option: str = "--set") -> Override:
    """``KEY=VALUE`` to an `Override`; the value is read as YAML.

    Raises:
        ConfigError: if there is no "=", or the value is not YAML.
    """
    where = option_where(option, text)
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise ConfigError([Problem(where, "must be KEY=VALUE, such as 'window_size=8'")])
    return override_of(key.strip(), parse_yaml(value, where, located=False), where)


def override_of(key: str, value: Node, where: str) -> Override:
    """An override of a key by a value as a person wrote it."""
    return Override(key, normalized(value, path_of(key)), where)


def path_of(key: str) -> Loc:
    """The path of a dotted key: "stages.0.depth" -> ("stages", 0, "depth")."""
    return tuple(int(part) if INDEX.fullmatch(part) else part for part in key.split("."))


def option_where(option: str, text: str) -> str:
    """What messages call an option with its value, cut if long."""
    return f"{option} {cut(text)}"


@dataclass(frozen=True)
class Loaded:
    """A config, what messages call its file, and where its keys stand."""

    config: EncoderConfig
    label: str
    tree: Node

    def where(self, key: str) -> Where | None:
        """Where a key stands ("window_size", "stages.1.depth", "run.dtype"), perhaps in a file that is extended.

        None for a key that no file gives.
        """
        parts = path_of(key)
        node: Node | None = self.tree
        for part in ("stages", 0, *parts) if parts[0] in STAGE_KEYS else parts:
            node = None if node is None else node.step(part)
        return None if node is None else node.key_where or node.where


def load_config(
    source: str | Path | Mapping[str, Any],
    overrides: str | Iterable[str | Override] = (),
    *,
    files: Files = DISK,
) -> EncoderConfig:
    """Load an encoder config.

    Args:
        source: a path to a YAML file, the name of a preset, "-" for standard input, or a mapping with the keys of
            a config file.
        overrides: laid over the file, each "key=value" ("window_size=8", "stages.0.depth=4", "run.dtype=float16").
        files: where its path and those that it extends lead: the disk, or a commit's files.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    return load_located(source, overrides, files=files).config


def load_located(
    source: str | Path | Mapping[str, Any],
    overrides: str | Iterable[str | Override] = (),
    *,
    files: Files = DISK,
) -> Loaded:
    """As `load_config`, with the places of its keys."""
    if isinstance(source, Mapping):
        document = Document(from_python(source), Path(), "encoder", files)
    else:
        document = read_document(str(source), Path(), "samattn", files)
    laid_over = [overrides] if isinstance(overrides, str) else list(overrides)
    return _loaded(document, laid_over)


def _loaded(document: Document, laid_over: Sequence[str | Override]) -> Loaded:
    """The config of a document; where it is wrong, again with the families of installed packages, if there are any."""
    tree = _tree(document, laid_over)
    try:
        config = build(tree, document.name)
    except ConfigError as error:
        from ..encoder.outside import add_installed  # which a config of known words does not need

        before, unusable = version(), add_installed()
        if version() != before:
            return _loaded(document, laid_over)
        found = blamed(error, list(_changes(document, list(map(_override, laid_over)))))
        raise ConfigError((*found.problems, *unusable)) from None
    return Loaded(config, document.root.where.source, tree)


def _tree(document: Document, overrides: Iterable[str | Override], without: Key | None = None) -> Node:
    """The canonical tree of a document, what it extends and overrides, `without` a key of one of the documents."""
    return normalized(_with_overrides(resolve(document, (), without), list(overrides)))


def _changes(document: Document, overrides: Sequence[Override]) -> Iterator[Change]:
    """What lies over something else: each override, then each key of the documents that extend others."""
    for at, override in enumerate(overrides):
        others = [*overrides[:at], *overrides[at + 1 :]]
        yield Change(override.where, (), partial(_build, document, others))
    documents = list(chain_of(document))
    for at, over in enumerate(documents):
        label, under = over.root.where.source, tuple(each.root.where.source for each in documents[at + 1 :])
        for key, node in entries_of(over.root).items() if under else ():
            if key != "extends":
                yield Change(str(node.where), under, partial(_build, document, overrides, (label, key)))


def _build(document: Document, overrides: Sequence[Override], without: Key | None = None) -> None:
    build(_tree(document, overrides, without), document.name)


def _override(given: str | Override) -> Override:
    return given if isinstance(given, Override) else parse_override(given, "override")


def _with_overrides(tree: Node, overrides: Sequence[str | Override]) -> Node:
    """The tree with the keys of all overrides set; all of them are one layer, in which no word replaces another's keys."""
    problems: list[list[Problem]] = [[] for _ in overrides]
    parsed = [_or_note(*at, _override) for at in zip(problems, overrides, strict=True)]
    words = ((one.key, getattr(one.value, "value", one.value)) for one in parsed if one is not None)
    tree = without_replaced_keys(tree, words)
    for noted, override in zip(problems, parsed, strict=True):
        if override is not None:
            _or_note(noted, override, partial(_apply, tree))
    if any(problems):
        raise ConfigError(chain.from_iterable(problems))
    return tree


def _or_note(noted: list[Problem], given: Given, act: Callable[[Given], Made]) -> Made | None:
    """What `act` makes of what it is given; if it cannot, its problems are added to those noted."""
    try:
        return act(given)
    except ConfigError as error:
        noted += error.problems
    return None


def _apply(tree: Node, override: Override) -> None:
    """Set one dotted key in `tree`."""
    value = override.value
    where = Where(override.where)
    node = replace(value, key_where=where) if isinstance(value, Node) else from_python(value, where)
    if not is_text(override.key):
        raise problem_at(where, f"the key {override.key!r} {NOT_TEXT}")
    first, *rest = override.key.split(".", MAX_DEPTH)
    if len(rest) == MAX_DEPTH:
        raise problem_at(where, "names a key deeper than any that a config has")
    if first == "extends":
        raise problem_at(where, "extends is for a file: name what it would extend as the config")
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
            known = {0: "none, as it is empty", 1: "only 0"}.get(len(items), f"from 0 to {len(items) - 1}")
            raise problem_at(where, f"{key!r} is not an index of this list: it has {known}")
        index = int(key)
        items[index] = _set(items[index], rest, node, where)
        return replace(parent, value=items)
    hint = did_you_mean(key, (field.name for field in fields(EncoderConfig)))
    raise problem_at(where, f"{key!r} cannot be set inside a plain value{hint}")
