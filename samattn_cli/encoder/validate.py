"""Validates the tree of a file and reports all problems at once, each at its place.

Each key is checked by itself first (type, range, spelling), then the rules between keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

from pydantic_core import SchemaValidator, ValidationError

from ..errors import ConfigError, Message, Problem
from .checkpointed import words_without_blocks
from .model import EncoderConfig
from .plan_rules import problems_of_axes, problems_of_plan
from .registry import version
from .rules import Rules, is_flat
from .schemas import class_schema
from .tree import Loc, Node, Where
from .wording import UNKNOWN_KEY, explain

Config = TypeVar("Config")
LocatedMessage = tuple[Where, Message]
BetweenKeys = Callable[[Node, set[Loc]], Iterable[LocatedMessage]]
"""The rules between the keys of a tree. The second argument holds the paths that are wrong by themselves."""


def build(tree: Node, name: str) -> EncoderConfig:
    """The config of a canonical tree (see `files/load.py`); it is called `name` if the tree has no name.

    Raises:
        ConfigError: with every problem of the tree, in the order of the file.
    """
    flat = is_flat(tree)
    config = validated(EncoderConfig, tree, name, lambda *places: Rules(*places).problems(), flat=flat)
    found = tuple(problems_of_axes(config)) or (*problems_of_plan(config), *words_without_blocks(config))
    problems = [(tree.find(loc).where, message) for loc, message in found]
    if problems:
        raise _in_order(problems)
    return config


def validated(
    root: type[Config], tree: Node, name: str | None, rules: BetweenKeys, *, flat: bool = False
) -> Config:
    """An object of the config class `root` from a tree.

    Args:
        root: the config class.
        tree: the keys and their values.
        name: the value of the key `name` if the tree has none; None for a class without this key.
        rules: the rules between keys.
        flat: whether the keys of the one stage are at the top level of the file.

    Raises:
        ConfigError: with every problem of the tree, in the order of the file.
    """
    config: Config | None = None
    named = {} if name is None else {"name": name}
    problems: list[LocatedMessage] = []
    broken: set[Loc] = set()
    try:
        config = _validator(root, version()).validate_python({**named, **tree.plain()})  # type: ignore[arg-type] # a class is hashable
    except ValidationError as errors:
        details = errors.errors(include_url=False)
        broken = {error["loc"][:length] for error in details for length in range(1, len(error["loc"]) + 1)}
        problems = [
            (_place(tree, error["loc"], error["type"]), explain(error["loc"], error, root=root, flat=flat))
            for error in details
            if not any(
                error["loc"] == other["loc"][: len(error["loc"])] for other in details if other is not error
            )
        ]  # an error at an outer path only says that something inside it is wrong
    problems += rules(tree, broken)
    if config is None or problems:
        raise _in_order(problems)
    return config


def _in_order(problems: Iterable[LocatedMessage]) -> ConfigError:
    """Each problem once, in the order of the file."""
    ordered = sorted(
        dict.fromkeys(problems), key=lambda item: (item[0].source, item[0].line or 0, item[0].column or 0)
    )
    return ConfigError(Problem(str(where), message) for where, message in ordered)


@cache
def _validator(root: type, _version: int) -> SchemaValidator:
    """One for as long as the words of the families are the same."""
    return SchemaValidator(class_schema(root))


def _place(tree: Node, loc: Loc, kind: str) -> Where:
    node = tree.find(loc)
    return node.key_where or node.where if kind == UNKNOWN_KEY else node.where
