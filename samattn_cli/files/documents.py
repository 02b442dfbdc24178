"""Reads a YAML document and those that it extends, and brings them to one canonical form: all blocks are in ``stages``."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..encoder.applicable_keys import without_replaced_keys
from ..encoder.model import StageConfig
from ..encoder.tree import Node, Where
from ..errors import ConfigError, Message, Problem
from ..records import dataclass, replace
from . import foreign
from .file_kinds import ENCODER
from .sources import STDIN, Files, Source, read_source
from .yaml12 import MAX_DEPTH, NOT_TEXT, is_text, parse_yaml

MAX_EXTENDS = 16
STAGE_KEYS = frozenset(field.name for field in fields(StageConfig))
PYTHON = Where("config")
NOT_INHERITED = ("name", "description", "extends")

Key = tuple[str, str]
"""The label of a document, and a key of it."""


@dataclass(frozen=True)
class Document:
    """A document: its tree, the folder where its relative paths start, its short name, and where its paths lead."""

    root: Node
    folder: Path
    name: str
    files: Files


def read_document(reference: str, folder: Path, where: str, files: Files) -> Document:
    """The document that `reference` names, relative to `folder`; `where` is the place of the reference, for messages.

    Raises:
        ConfigError: if it does not exist, is not YAML, is not a mapping at the top level, or is another kind of file,
            such as a checkpoint.
    """
    path = folder / reference
    if foreign.is_checkpoint(reference) and files.exists(path):
        raise problem_at(Where(files.label(path)), foreign.checkpoint_problem(files.label(path)))
    source: Source = read_source(reference, folder, where, files=files)
    root = _parsed(source.text, source.label)
    if not isinstance(root.value, dict):
        raise problem_at(root.where, ENCODER.must_be)
    if problem := foreign.document_problem(root):
        raise problem_at(root.where, problem)
    return Document(root, source.folder, source.name, source.files)


def chain_of(document: Document) -> Iterator[Document]:
    """A document and those that it extends, all of which must exist."""
    yield document
    if extends := entries_of(document.root).get("extends"):
        yield from chain_of(
            read_document(str(extends.value), document.folder, str(extends.where), document.files)
        )


def files_of(path: Path, files: Files) -> Iterator[Path]:
    """The path of a config and those of the files that it extends, up to the first that cannot be read."""
    yield path
    with suppress(ConfigError):
        document = read_document(str(path), Path(), "samattn", files)
        yield from (Path(other.root.where.source) for other in islice(chain_of(document), 1, MAX_EXTENDS))


@lru_cache(maxsize=256)
def _parsed(text: str, label: str) -> Node:
    """The tree of a document. Many documents may share it, so nothing may change it."""
    return parse_yaml(text, label)


def resolve(document: Document, seen: tuple[str, ...], without: Key | None = None) -> Node:
    """The canonical tree of a document on top of what it extends, `without` one key of one of these documents."""
    root, extends = document.root, entries_of(document.root).get("extends")
    if without is not None and without[0] == root.where.source:
        root = replace(root, value={key: node for key, node in entries_of(root).items() if key != without[1]})
    if extends is None:
        return _canonical(root)
    if not isinstance(extends.value, str) or extends.value == STDIN:
        message = "extends must be the name of a preset or a path, such as 'sam_vit_b'"
        raise problem_at(extends.where, Message("bad-extends", message))
    base = read_document(extends.value, document.folder, str(extends.where), document.files)
    labels = (*seen, document.root.where.source)
    if base.root.where.source in labels:
        loop = " -> ".join((*labels, base.root.where.source))
        raise problem_at(extends.where, Message("extends-itself", f"the config extends itself: {loop}"))
    if len(labels) > MAX_EXTENDS:
        message = f"the chain of extends is longer than {MAX_EXTENDS} configs"
        raise problem_at(extends.where, Message("extends-too-long", message))
    return _lay_over(resolve(base, labels, without), root)


def _canonical(root: Node) -> Node:
    """A document that extends nothing, with the top-level keys of a single stage moved into ``stages``.

    If the document also has ``stages``, they are not moved, and `build` reports them with all other problems.
    """
    entries = dict(entries_of(root))
    if "stages" in entries:
        return replace(root, value=entries)  # a copy, because overrides are set in it
    flat = {key: entries.pop(key) for key in list(entries) if key in STAGE_KEYS}
    stage = replace(root, value=flat)
    return replace(root, value={**entries, "stages": Node([stage], root.where)})


def _lay_over(base: Node, root: Node) -> Node:
    """The canonical `base` with the keys of `root` in place of its own."""
    own = entries_of(root)
    inherited = entries_of(without_replaced_keys(base, ((key, node.value) for key, node in own.items())))
    merged = {key: node for key, node in inherited.items() if key not in NOT_INHERITED}
    tree = replace(root, value=merged)
    flat = _flat(own)
    if "stages" in own:
        merged.update(flat)
    else:
        put_in_stage(tree, flat)
    for key, node in own.items():
        if key == "run" and isinstance(node.value, dict) and "run" in merged:
            merged[key] = replace(node, value={**entries_of(merged[key]), **node.value})
        elif key != "extends" and key not in STAGE_KEYS:
            merged[key] = node
    return tree


def _flat(entries: dict[str, Node]) -> dict[str, Node]:
    return {key: node for key, node in entries.items() if key in STAGE_KEYS}


def put_in_stage(tree: Node, flat: dict[str, Node]) -> None:
    """Set keys in the single stage of `tree`, without changing the base that it comes from.

    Raises:
        ConfigError: at each key, if there are several stages.
    """
    stages = entries_of(tree).get("stages")
    if not flat or stages is None or not isinstance(stages.value, list) or not stages.value:
        return
    if len(stages.value) != 1:
        raise ConfigError(_which_stage(key, node, len(stages.value)) for key, node in flat.items())
    stage = stages.value[0]
    changed = replace(stage, value={**entries_of(stage), **flat})
    entries_of(tree)["stages"] = replace(stages, value=[changed])


def from_python(value: Any, where: Where = PYTHON, depth: int = 1) -> Node:
    """Python data as nodes, so that a mapping passed to `load_config` gets the same checks as a file."""
    if depth > MAX_DEPTH:
        raise problem_at(where, Message("too-deep", f"is nested deeper than {MAX_DEPTH} levels"))
    if isinstance(value, Mapping):
        if not_text := [key for key in map(str, value) if not is_text(key)]:
            raise problem_at(where, Message("not-utf-8", f"the key {not_text[0]!r} {NOT_TEXT}"))
        entries = {str(key): from_python(item, where, depth + 1) for key, item in value.items()}
        return Node(entries, where, where)
    if isinstance(value, (list, tuple)):
        return Node([from_python(item, where, depth + 1) for item in value], where, where)
    whole = hasattr(value, "__index__") and not isinstance(value, bool)  # NumPy's integers too
    return Node(operator.index(value) if whole else value, where, where)


def entries_of(node: Node) -> dict[str, Node]:
    """The keys of a mapping; {} for any other node."""
    return node.value if isinstance(node.value, dict) else {}


def _which_stage(key: str, node: Node, stages: int) -> Problem:
    """A key of a stage at the top level, where there are several stages."""
    message = (
        f"{key}: this encoder has {stages} stages: choose one, such as 'stages.0.{key}' in an option, or write 'stages:' in "
        "a file"
    )
    return Problem(str(node.key_where or node.where), Message("ambiguous-stage", message))


def problem_at(where: Where, message: Message) -> ConfigError:
    """An error with one problem at a place."""
    return ConfigError([Problem(str(where), message)])
