"""Everything that can be wrong with a config, found at once and said with its place.

First each key by itself (type, range, spelling: pydantic's verdict in our words), then the rules between keys, each
only where the keys it needs are sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from ..errors import ConfigError, Problem, did_you_mean
from .keys import choices_of, class_schema, example_of
from .model import EncoderConfig, RunConfig, StageConfig
from .yaml12 import Node, Where

Loc = tuple[int | str, ...]

UNKNOWN_KEY = "unexpected_keyword_argument"
MOST_ITEMS = 5
MOST_CHARACTERS = 60
MOST_BITS = 10_000  # Python refuses to write out an int of more than 4,300 digits


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
            (_place(tree, error["loc"], error["type"]), _say(error["loc"], error, _is_flat(tree)))
            for error in details
            if not any(
                error["loc"] == other["loc"][: len(error["loc"])] for other in details if other is not error
            )
        ]  # one around another only says that something inside it is wrong
    found += _Rules(tree, broken).problems()
    if config is None or found:
        ordered = sorted(
            dict.fromkeys(found), key=lambda item: (item[0].source, item[0].line or 0, item[0].column or 0)
        )
        raise ConfigError(Problem(str(where), message) for where, message in ordered)
    return config


@cache
def _validator() -> SchemaValidator:
    return SchemaValidator(class_schema(EncoderConfig))


def _say(loc: Loc, error: Any, flat: bool) -> str:
    """What is wrong at `loc`, and what would be right."""
    key = _dotted(loc, flat)
    kind, given = error["type"], error["input"]
    if kind in ("missing", "too_long") and _is_pair(loc) and isinstance(given, tuple):
        return f"{key} must be a number or [height, width], not {_short(given)}"
    if kind == "missing":
        return f"{key} is missing{_example(loc)}"
    if kind == UNKNOWN_KEY:
        return f"unknown key {key!r}{_home(loc) or did_you_mean(str(loc[-1]), _known_keys(loc))}"
    limits = {name: _number(limit) for name, limit in error.get("ctx", {}).items()}
    expected = _EXPECTED.get(kind, "cannot be read").format(**limits)
    hint = ""
    if kind == "literal_error" and isinstance(given, str):
        hint = did_you_mean(given, choices_of(_field(loc)))
    return f"{key or 'a key'} {expected}{'' if hint else _example(loc)}, not {_short(given)}{hint}"


def _number(limit: Any) -> str:
    return f"{limit:,.0f}" if isinstance(limit, (int, float)) else str(limit)


_EXPECTED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text without lone surrogates",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "tuple_type": "must be a list",
    "dataclass_type": "must be a mapping of keys",
}
"""What pydantic-core's types of error say that a value must be."""


def _example(loc: Loc) -> str:
    field = _field(loc)
    if field is None:
        return ""
    example = example_of(field)
    is_item = isinstance(loc[-1], int) and isinstance(example, list)
    return f" (such as {_short(example[0] if is_item else example)})"


def _is_pair(loc: Loc) -> bool:
    return any(part in ("image_size", "window_size") for part in loc)


def _home(loc: Loc) -> str:
    """Where a key belongs that stands in the wrong place."""
    homes = {"at the top level": EncoderConfig, "in 'stages:'": StageConfig, "in 'run:'": RunConfig}
    fitting = [
        home for home, config in homes.items() if config is not _owner(loc) and loc[-1] in _fields(config)
    ]
    return f"; it belongs {fitting[0]}" if fitting else ""


def _short(value: Any) -> str:
    """How a value would stand in YAML, cut if long."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, (tuple, list)):
        more = ", ..." if len(value) > MOST_ITEMS else ""
        text = f"[{', '.join(map(_short, value[:MOST_ITEMS]))}{more}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {_short(item)}' for key, item in value.items())}}}"
    elif isinstance(value, float) and not math.isfinite(value):
        text = f"{value:+}".replace("+", "").replace("inf", ".inf").replace("nan", ".nan")
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        text = "a huge number"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _owner(loc: Loc) -> type:
    """The config class that the last key of `loc` belongs to."""
    owners: dict[Any, type] = {"stages": StageConfig, "run": RunConfig}
    return owners.get(loc[0], EncoderConfig) if len(loc) > (2 if loc[0] == "stages" else 1) else EncoderConfig


def _field(loc: Loc) -> Any:
    keys = [part for part in loc if isinstance(part, str)]
    return _fields(_owner(loc)).get(keys[-1]) if keys else None


def _fields(config: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(config)}


def _known_keys(loc: Loc) -> list[str]:
    owner = _owner(loc)
    return [*_fields(owner), *([*_fields(StageConfig), "extends"] if owner is EncoderConfig else ())]


def _dotted(loc: Loc, flat: bool) -> str:
    """Such as "stages.1.depth", or "depth" where the file has its stage at the top level. A list's items have its name."""
    shown = loc[2:] if flat and loc[:1] == ("stages",) and len(loc) > len(("stages", 0)) else loc
    while len(shown) > 1 and isinstance(shown[-1], int) and shown[-2] != "stages":
        shown = shown[:-1]
    return ".".join(map(str, shown))


def _is_flat(tree: Node) -> bool:
    stages = _step(tree, "stages")
    return stages is not None and stages.key_where is None


def _step(node: Node | None, key: int | str) -> Node | None:
    value = node.value if node is not None else None
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _find(tree: Node, loc: Loc) -> Node:
    """The node at `loc`, or the nearest one around it."""
    node = tree
    for key in loc:
        child = _step(node, key)
        if child is None:
            break
        node = child
    return node


def _place(tree: Node, loc: Loc, kind: str) -> Where:
    node = _find(tree, loc)
    return node.key_where or node.where if kind == UNKNOWN_KEY else node.where


class _Rules:
    """The rules between keys, on the raw tree; a value that is missing or `broken` reads as None."""

    def __init__(self, tree: Node, broken: set[Loc]) -> None:
        self.tree = tree
        self.broken = broken
        self.flat = _is_flat(tree)

    def get(self, *loc: int | str) -> Any:
        if loc in self.broken:
            return None
        node = _step(_find(self.tree, loc[:-1]), loc[-1])
        if node is not None:
            return node.plain()
        field = _field(loc)
        return None if field is None or field.default is MISSING else field.default

    def problems(self) -> Iterator[tuple[Where, str]]:
        yield from self.image()
        stages = _step(self.tree, "stages")
        first_block: int | None = 0
        for number in range(len(stages.value) if stages and isinstance(stages.value, list) else 0):
            yield from self.stage(number, first_block)
            depth = self.get("stages", number, "depth")
            first_block = None if first_block is None or depth is None else first_block + depth

    def image(self) -> Iterator[tuple[Where, str]]:
        size, patch = self.get("image_size"), self.get("patch_size")
        if size is None or patch is None:
            return
        sides = size if isinstance(size, tuple) else (size,)
        if min(sides) < patch:
            where = _find(self.tree, ("image_size",)).where
            yield where, f"image_size {_short(size)} is smaller than a patch of {patch}: use at least {patch}"

    def stage(self, number: int, first_block: int | None) -> Iterator[tuple[Where, str]]:
        yield from self.heads(number)
        yield from self.mlp(number)
        yield from self.window(number)
        yield from self.width(number)
        depth = self.get("stages", number, "depth")
        if first_block is not None and depth is not None:
            yield from self.indexes(number, range(first_block, first_block + depth))

    def heads(self, number: int) -> Iterator[tuple[Where, str]]:
        width, heads = self.get("stages", number, "embed_dim"), self.get("stages", number, "num_heads")
        if width is None or heads is None or width % heads == 0:
            return
        low = [count for count in range(1, math.isqrt(width) + 1) if width % count == 0]
        near = sorted({*low, *(width // count for count in low)})
        best = sorted(sorted(near, key=lambda count: abs(count - heads))[:2])
        choices = " or ".join(map(str, best))
        yield (
            self.at(number, "num_heads"),
            f"num_heads {heads} does not divide embed_dim {width}: use {choices}",
        )

    def mlp(self, number: int) -> Iterator[tuple[Where, str]]:
        width, ratio = self.get("stages", number, "embed_dim"), self.get("stages", number, "mlp_ratio")
        if width is not None and ratio is not None and int(width * ratio) < 1:
            yield (
                self.at(number, "mlp_ratio"),
                f"mlp_ratio {ratio} leaves the MLP of width {width} no hidden channel",
            )

    def window(self, number: int) -> Iterator[tuple[Where, str]]:
        window = self.get("stages", number, "window_size")
        if isinstance(window, tuple) and window.count(0) == 1:
            yield (
                self.at(number, "window_size"),
                f"window_size {_short(window)} has one side 0: use two sides above 0, or 0 for global attention",
            )

    def width(self, number: int) -> Iterator[tuple[Where, str]]:
        first, width = self.get("stages", 0, "embed_dim"), self.get("stages", number, "embed_dim")
        if first is not None and width is not None and first != width:
            yield (
                self.at(number, "embed_dim"),
                f"stages.{number}.embed_dim is {width} but stages.0.embed_dim is {first}: plain blocks keep one width",
            )

    def indexes(self, number: int, blocks: range) -> Iterator[tuple[Where, str]]:
        loc = ("stages", number, "global_attn_indexes")
        indexes = self.get(*loc)
        seen: set[int] = set()
        for position, index in enumerate(indexes or ()):
            where = _find(self.tree, (*loc, position)).where
            if index not in blocks:
                held = f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"only block {blocks[0]}"
                holder = f"depth {len(blocks)} gives" if self.flat else f"stage {number} holds"
                yield where, f"global_attn_indexes names block {index}, but {holder} {held}"
            elif index in seen:
                yield where, f"global_attn_indexes names block {index} twice: keep one"
            seen.add(index)

    def at(self, number: int, key: str) -> Where:
        return _find(self.tree, ("stages", number, key)).where
