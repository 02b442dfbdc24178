"""YAML configs of other projects, with the place of each entry, and what an importer declares of a kind of them.

They are read as data. Only one thing in them is worked out: ``${a.b}``, which hydra replaces by the value at that path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoder.tree import Node
from ..errors import ConfigError, ImportFailedError, did_you_mean
from ..files.file_kinds import FileKind
from ..files.sources import read_source
from ..files.yaml12 import parse_yaml
from ..records import replace
from .description import Description, Keys, quoted

ENDINGS = (".yaml", ".yml")
FOREIGN = FileKind(
    noun="a model's config",
    word="model",
    example="model:",
    instead_of_merge="write the keys out",
    shipped="config",
    names=dict,
)
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
MOST_REFERENCES = 16
"""That lead from one to the next; more are a circle."""

Renamed = tuple[tuple[str, str], ...]
"""Entries of a file, each with the name under which an importer reads it."""


@dataclass(frozen=True)
class ConfigKind:
    """A kind of YAML config.

    Attributes:
        project: whose it is, "SAM 2".
        finds: the mapping that describes the model, in the whole document; None if it is of another kind.
        read: the config's keys by the document and that mapping.
    """

    project: str
    finds: Callable[[Node], Node | None]
    read: Callable[[ConfigFile, Node], tuple[Keys, Description]]


@dataclass(frozen=True)
class ConfigFile:
    """A YAML document with the places of its entries."""

    root: Node

    def description(self, node: Node, renamed: Renamed = (), *, known: Iterable[str] = ()) -> Description:
        """The entries of a mapping as a description whose errors name the place of each entry.

        Args:
            node: the mapping.
            renamed: the entries that are read under another name.
            known: every entry that it may have, as the file names it; empty if it may have any.

        Raises:
            ImportFailedError: if it is not a mapping, or has an entry that is not `known`.
        """
        if not isinstance(node.value, dict):
            raise ImportFailedError(
                "not-a-mapping", f"{node.where}: must be a mapping, not {quoted(node.plain())}"
            )
        names = dict(renamed)
        description = Description(
            str(node.key_where or node.where),
            {names.get(key, key): self.plain(entry) for key, entry in node.value.items()},
        )
        for key, entry in node.value.items():
            _check_known(key, entry, tuple(known))
            description.shown[names.get(key, key)] = (str(entry.where), key)
        return description

    def plain(self, node: Node) -> Any:
        """The value as plain data, with what its references lead to."""
        node = self._followed(node)
        if isinstance(node.value, dict):
            return {key: self.plain(entry) for key, entry in node.value.items()}
        if isinstance(node.value, list):
            return [self.plain(entry) for entry in node.value]
        return node.value

    def _followed(self, node: Node) -> Node:
        start = node
        for _ in range(MOST_REFERENCES):
            match = REFERENCE.fullmatch(node.value) if isinstance(node.value, str) else None
            if match is None:
                return node
            target = self.root.at(tuple(match[1].split(".")))
            if target is None:
                raise ImportFailedError(
                    "unknown-reference", f"{node.where}: {node.value}: the file has no entry {match[1]}"
                )
            node = target
        raise ImportFailedError("circular-reference", f"{start.where}: {start.value} leads back to itself")


def _check_known(key: str, entry: Node, known: tuple[str, ...]) -> None:
    if known and key not in known:
        where = entry.key_where or entry.where
        raise ImportFailedError(
            "unknown-entry", f"{where}: unknown entry {quoted(key)}{did_you_mean(key, known)}"
        )


def mappings_in(node: Node) -> Iterator[Node]:
    """This node and all within it that are mappings, outer ones first."""
    inner: Iterable[Node] = ()
    if isinstance(node.value, dict):
        yield node
        inner = node.value.values()
    elif isinstance(node.value, list):
        inner = node.value
    for each in inner:
        yield from mappings_in(each)


def read_config_file(path: Path, kinds: Iterable[ConfigKind]) -> tuple[Keys, Description, str]:
    """The config's keys, the description that they are read from, and whose file it is.

    Raises:
        ImportFailedError: if the file is damaged, of an unknown kind, or says what samattn cannot express.
    """
    try:
        source = read_source(str(path), Path(), "samattn", FOREIGN)
        root = parse_yaml(source.text, source.label, kind=FOREIGN)
    except ConfigError as error:
        first, *_ = error.problems
        raise ImportFailedError(first.message.code, f"{first.where}: {first.message}") from None
    document, projects = ConfigFile(root), list[str]()
    for kind in kinds:
        projects.append(kind.project)
        if (model := kind.finds(root)) is not None:
            keys, description = kind.read(document, model)
            return keys, description, kind.project
    raise ImportFailedError("unknown-model", f"{path}: {_unknown(root, str(path), projects)}")


OWN = ("extends", "embed_dim", "stages")
"""Keys of samattn's own configs."""


def _unknown(root: Node, path: str, projects: list[str]) -> str:
    """What is wrong with a file in which no kind finds a model."""
    if any(root.step(key) is not None for key in OWN):
        return f"is a config of samattn already: `samattn analyze {path}` reads it"
    return (
        f"describes no model that samattn knows; it reads YAML configs of {', '.join(projects)}. {ELSEWHERE}"
    )


ELSEWHERE = "For another project, import its checkpoint, or trace the module that its code builds: `samattn trace package.module:callable`"


def without_run(node: Node) -> Node:
    """A mapping without hydra's own entries, which begin with an underscore, such as ``_target_``."""
    if not isinstance(node.value, dict):
        return node
    return replace(node, value={key: each for key, each in node.value.items() if not key.startswith("_")})
