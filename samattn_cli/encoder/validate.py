"""Everything that can be wrong with a file, found at once and said with its place.

First each key by itself (type, range, spelling), then the rules between keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

from pydantic_core import SchemaValidator, ValidationError

from ..errors import ConfigError, Problem
from .keys import class_schema
from .model import EncoderConfig
from .registry import version
from .rules import Rules, is_flat, problems_of_plan
from .tree import Loc, Node, Where
from .wording import UNKNOWN_KEY, explain

Config = TypeVar("Config")
LocatedMessage = tuple[Where, str]
BetweenKeys = Callable[[Node, set[Loc]], Iterable[LocatedMessage]]
"""Rules between the keys of a tree, given the places that are broken by themselves."""


def build(tree: Node, name: str) -> EncoderConfig:
    """The config of a canonical tree (see `load`); its name is `name` where the tree has none.

    Raises:
        ConfigError: with every problem of the tree, in the order of the file.
    """
    flat = is_flat(tree)
    config = validated(EncoderConfig, tree, name, lambda *places: Rules(*places).problems(), flat=flat)
    found = [(tree.find(loc).where, message) for loc, message in problems_of_plan(config)]
    if found:
        raise _in_order(found)
    return config


def validated(
    root: type[Config], tree: Node, name: str | None, rules: BetweenKeys, *, flat: bool = False
) -> Config:
    """The `root` that a tree gives; its name is `name` where the tree has none, or it has no name at all if None.

    Raises:
        ConfigError: with every problem of the tree, in the order of the file.
    """
    config: Config | None = None
    named = {} if name is None else {"name": name}
    found: list[LocatedMessage] = []
    broken: set[Loc] = set()
    try:
        config = _validator(root, version()).validate_python({**named, **tree.plain()})  # type: ignore[arg-type] # a class is hashable
    except ValidationError as errors:
        details = errors.errors(include_url=False)
        broken = {error["loc"][:length] for error in details for length in range(1, len(error["loc"]) + 1)}
        found = [
            (_place(tree, error["loc"], error["type"]), explain(error["loc"], error, root=root, flat=flat))
            for error in details
            if not any(
                error["loc"] == other["loc"][: len(error["loc"])] for other in details if other is not error
            )
        ]  # one around another only says that something inside it is wrong
    found += rules(tree, broken)
    if config is None or found:
        raise _in_order(found)
    return config


def _in_order(found: Iterable[LocatedMessage]) -> ConfigError:
    """Each problem once, in the order of the file."""
    ordered = sorted(
        dict.fromkeys(found), key=lambda item: (item[0].source, item[0].line or 0, item[0].column or 0)
    )
    return ConfigError(Problem(str(where), message) for where, message in ordered)


@cache
def _validator(root: type, _version: int) -> SchemaValidator:
    """One for as long as the words of the families are the same."""
    return SchemaValidator(class_schema(root))


def _place(tree: Node, loc: Loc, kind: str) -> Where:
    node = tree.find(loc)
    return node.key_where or node.where if kind == UNKNOWN_KEY else node.where
