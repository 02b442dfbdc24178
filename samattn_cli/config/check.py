"""Everything that can be wrong with a config, found at once and said with its place.

First each key by itself (type, range, spelling), then the rules between keys.
"""

from __future__ import annotations

from functools import cache

from pydantic_core import SchemaValidator, ValidationError

from ..errors import ConfigError, Problem
from .keys import class_schema
from .model import EncoderConfig
from .rules import Rules, is_flat
from .wording import UNKNOWN_KEY, say
from .yaml12 import Loc, Node, Where


def build(tree: Node, name: str) -> EncoderConfig:
    """The config of a canonical tree (see `load`); its name is `name` where the tree has none.

    Raises:
        ConfigError: with every problem of the tree, in the order of the file.
    """
    config: EncoderConfig | None = None
    found: list[tuple[Where, str]] = []
    broken: set[Loc] = set()
    try:
        config = _validator().validate_python({"name": name, **tree.plain()})
    except ValidationError as errors:
        details = errors.errors(include_url=False)
        broken = {error["loc"][:length] for error in details for length in range(1, len(error["loc"]) + 1)}
        found = [
            (_place(tree, error["loc"], error["type"]), say(error["loc"], error, is_flat(tree)))
            for error in details
            if not any(
                error["loc"] == other["loc"][: len(error["loc"])] for other in details if other is not error
            )
        ]  # one around another only says that something inside it is wrong
    found += Rules(tree, broken).problems()
    if config is None or found:
        ordered = sorted(
            dict.fromkeys(found), key=lambda item: (item[0].source, item[0].line or 0, item[0].column or 0)
        )
        raise ConfigError(Problem(str(where), message) for where, message in ordered)
    return config


@cache
def _validator() -> SchemaValidator:
    return SchemaValidator(class_schema(EncoderConfig))


def _place(tree: Node, loc: Loc, kind: str) -> Where:
    node = tree.find(loc)
    return node.key_where or node.where if kind == UNKNOWN_KEY else node.where
