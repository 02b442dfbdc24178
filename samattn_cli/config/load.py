"""YAML files, presets and overrides to one `EncoderConfig`, or to every problem there is, each at its place.

The steps: read the document and those it extends; bring each to the canonical form, in which the blocks stand in
``stages``; lay them over each other, then the overrides; check; build the frozen model.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, Problem, did_you_mean
from .applies import made_way
from .blame import Change, blamed
from .check import build
from .kinds import ENCODER
from .meant import as_meant
from .model import EncoderConfig, StageConfig
from .sources import DISK, STDIN, Files, Source, read_source
from .wording import cut
from .yaml12 import MAX_DEPTH, NOT_TEXT, Loc, Node, Where, is_text, parse_yaml

MAX_EXTENDS = 16
INDEX = re.compile(r"[0-9]{1,9}")
STAGE_KEYS = frozenset(field.name for field in fields(StageConfig))
PYTHON = Where("config")
Given = TypeVar("Given")
Made = TypeVar("Made")
NOT_INHERITED = ("name", "description", "extends")


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
    return Override(key, as_meant(value, path_of(key)), where)


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
        document = _Document(_from_python(source), Path(), "encoder", files)
    else:
        document = _read_document(str(source), Path(), "samattn", files)
    laid_over = [overrides] if isinstance(overrides, str) else list(overrides)
    tree = _tree(document, laid_over)
    try:
        config = build(tree, document.name)
    except ConfigError as error:
        raise blamed(error, list(_changes(document, list(map(_override, laid_over))))) from None
    return Loaded(config, document.root.where.source, tree)


@dataclass(frozen=True)
class _Document:
    root: Node
    folder: Path
    name: str
    files: Files


def _read_document(reference: str, folder: Path, where: str, files: Files) -> _Document:
    source: Source = read_source(reference, folder, where, files=files)
    root = _parsed(source.text, source.label)
    if not isinstance(root.value, dict):
        raise _problem(root.where, ENCODER.must_be)
    return _Document(root, source.folder, source.name, source.files)


def _tree(document: _Document, overrides: Iterable[str | Override], without: _Key | None = None) -> Node:
    """The canonical tree of a document, what it extends and overrides, `without` a key of one of the documents."""
    return as_meant(_with_overrides(_resolve(document, (), without), list(overrides)))


_Key = tuple[str, str]
"""The label of a document, and a key of it."""


def _changes(document: _Document, overrides: Sequence[Override]) -> Iterator[Change]:
    """What lies over something else: each override, then each key of the documents that extend others."""
    for at, override in enumerate(overrides):
        others = [*overrides[:at], *overrides[at + 1 :]]
        yield Change(override.where, (), partial(_build, document, others))
    documents = list(_chain(document))
    for at, over in enumerate(documents):
        label, under = over.root.where.source, tuple(each.root.where.source for each in documents[at + 1 :])
        for key, node in _entries(over.root).items() if under else ():
            if key != "extends":
                yield Change(str(node.where), under, partial(_build, document, overrides, (label, key)))


def _build(document: _Document, overrides: Sequence[Override], without: _Key | None = None) -> None:
    build(_tree(document, overrides, without), document.name)


def _chain(document: _Document) -> Iterator[_Document]:
    """A document and those that it extends, which are known to be there."""
    yield document
    if extends := _entries(document.root).get("extends"):
        yield from _chain(
            _read_document(str(extends.value), document.folder, str(extends.where), document.files)
        )


@lru_cache(maxsize=256)
def _parsed(text: str, label: str) -> Node:
    """A document's tree, which many may extend: it is not changed."""
    return parse_yaml(text, label)


def _resolve(document: _Document, seen: tuple[str, ...], without: _Key | None = None) -> Node:
    """The canonical tree of a document laid over what it extends, `without` a key of one of them."""
    root, extends = document.root, _entries(document.root).get("extends")
    if without is not None and without[0] == root.where.source:
        root = replace(root, value={key: node for key, node in _entries(root).items() if key != without[1]})
    if extends is None:
        return _canonical(root)
    if not isinstance(extends.value, str) or extends.value == STDIN:
        raise _problem(extends.where, "extends must be the name of a preset or a path, such as 'sam_vit_b'")
    base = _read_document(extends.value, document.folder, str(extends.where), document.files)
    labels = (*seen, document.root.where.source)
    if base.root.where.source in labels:
        loop = " -> ".join((*labels, base.root.where.source))
        raise _problem(extends.where, f"extends itself: {loop}")
    if len(labels) > MAX_EXTENDS:
        raise _problem(extends.where, f"more than {MAX_EXTENDS} configs extend one another")
    return _lay_over(_resolve(base, labels, without), root)


def _canonical(root: Node) -> Node:
    """A document that extends nothing, with the flat keys of a single stage moved into ``stages``.

    Beside ``stages`` they stay where they are, which `build` says with all else that is wrong.
    """
    entries = dict(_entries(root))
    if "stages" in entries:
        return replace(root, value=entries)  # overrides are put in: not in what others are read from
    flat = {key: entries.pop(key) for key in list(entries) if key in STAGE_KEYS}
    stage = replace(root, value=flat)
    return replace(root, value={**entries, "stages": Node([stage], root.where)})


def _lay_over(base: Node, root: Node) -> Node:
    """The canonical `base` with the keys of `root` in place of its own."""
    over = _entries(root)
    below = _entries(made_way(base, ((key, node.value) for key, node in over.items())))
    merged = {key: node for key, node in below.items() if key not in NOT_INHERITED}
    tree = replace(root, value=merged)
    flat = _flat(over)
    if "stages" in over:
        merged.update(flat)
    else:
        _put_in_stage(tree, flat)
    for key, node in over.items():
        if key == "run" and isinstance(node.value, dict) and "run" in merged:
            merged[key] = replace(node, value={**_entries(merged[key]), **node.value})
        elif key != "extends" and key not in STAGE_KEYS:
            merged[key] = node
    return tree


def _flat(entries: dict[str, Node]) -> dict[str, Node]:
    return {key: node for key, node in entries.items() if key in STAGE_KEYS}


def _put_in_stage(tree: Node, flat: dict[str, Node]) -> None:
    """Set flat keys in the single stage of `tree`, without touching the base it came from."""
    stages = _entries(tree).get("stages")
    if not flat or stages is None or not isinstance(stages.value, list) or not stages.value:
        return
    if len(stages.value) != 1:
        which = "say which, such as 'stages.0.{key}' with --set, or write 'stages:'"
        raise _each(flat, f"{{key}}: this encoder has {len(stages.value)} stages: {which}")
    stage = stages.value[0]
    changed = replace(stage, value={**_entries(stage), **flat})
    _entries(tree)["stages"] = replace(stages, value=[changed])


def _override(given: str | Override) -> Override:
    return given if isinstance(given, Override) else parse_override(given, "override")


def _with_overrides(tree: Node, overrides: Sequence[str | Override]) -> Node:
    """The tree with the keys of all overrides set; all of them are one layer, in which no word replaces another's keys."""
    problems: list[list[Problem]] = [[] for _ in overrides]
    parsed = [_or_note(*at, _override) for at in zip(problems, overrides, strict=True)]
    words = ((one.key, getattr(one.value, "value", one.value)) for one in parsed if one is not None)
    tree = made_way(tree, words)
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
    node = replace(value, key_where=where) if isinstance(value, Node) else _from_python(value, where)
    if not is_text(override.key):
        raise _problem(where, f"the key {override.key!r} {NOT_TEXT}")
    first, *rest = override.key.split(".", MAX_DEPTH)
    if len(rest) == MAX_DEPTH:
        raise _problem(where, "names a key deeper than any that a config has")
    if first == "extends":
        raise _problem(where, "extends is for a file: name what it would extend as the config")
    if first in STAGE_KEYS:
        stages = _entries(tree)["stages"].value
        stage = _entries(stages[0]) if isinstance(stages, list) and stages else {}
        inner = _set(stage.get(first, Node({}, where)), rest, node, where)
        _put_in_stage(tree, {first: replace(inner, key_where=where)})
        return
    _entries(tree).update(_set(tree, [first, *rest], node, where).value)  # type: ignore[arg-type]


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
            raise _problem(where, f"{key!r} is not an index of this list: it has {known}")
        index = int(key)
        items[index] = _set(items[index], rest, node, where)
        return replace(parent, value=items)
    hint = did_you_mean(key, (field.name for field in fields(EncoderConfig)))
    raise _problem(where, f"{key!r} cannot be set inside a plain value{hint}")


def _from_python(value: Any, where: Where = PYTHON, depth: int = 1) -> Node:
    """Python data to nodes, so that a mapping given to `load_config` goes through the same checks as a file."""
    if depth > MAX_DEPTH:
        raise _problem(where, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if odd := [key for key in map(str, value) if not is_text(key)]:
            raise _problem(where, f"the key {odd[0]!r} {NOT_TEXT}")
        entries = {str(key): _from_python(item, where, depth + 1) for key, item in value.items()}
        return Node(entries, where, where)
    if isinstance(value, (list, tuple)):
        return Node([_from_python(item, where, depth + 1) for item in value], where, where)
    whole = hasattr(value, "__index__") and not isinstance(value, bool)  # NumPy's integers too
    return Node(operator.index(value) if whole else value, where, where)


def _entries(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _each(nodes: dict[str, Node], message: str) -> ConfigError:
    return ConfigError(
        Problem(str(node.key_where or node.where), message.format(key=key)) for key, node in nodes.items()
    )


def _problem(where: Where, message: str) -> ConfigError:
    return ConfigError([Problem(str(where), message)])
