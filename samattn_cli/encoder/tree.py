"""A document as a tree of values, each with its place in its file."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ..records import dataclass

Scalar = bool | int | float | str | None
Loc = tuple[int | str, ...]
"""A path of keys and indexes."""


@dataclass(frozen=True)
class Where:
    """A place in a config: a file (or an option of the command line), and a line and column counted from 1."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """A YAML value with its place and, if it is the value of a key, the place of the key."""

    value: Scalar | list[Node] | dict[str, Node]
    where: Where
    key_where: Where | None = None
    size: int = field(default=1, repr=False)

    def step(self, key: int | str) -> Node | None:
        """The value of a key, or an item of a list; None if there is none."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            return self.value[key]
        return None

    def at(self, loc: Loc) -> Node | None:
        """The node at `loc`; None if there is none."""
        node: Node | None = self
        for key in loc:
            node = None if node is None else node.step(key)
        return node

    def find(self, loc: Loc) -> Node:
        """The node at `loc`, or the innermost node on the way there."""
        node = self
        for key in loc:
            child = node.step(key)
            if child is None:
                break
            node = child
        return node

    def plain(self) -> Any:
        """The value as plain Python data, without places; lists become tuples."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value
