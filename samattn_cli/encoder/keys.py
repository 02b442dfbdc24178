"""The keys of a config: each is a dataclass field with the values that it accepts, its meaning and an example.

What a key accepts is only declared here. `schemas` makes the schemas, for pydantic-core, when a file is validated: a
preset as it is kept needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from functools import cache, partial
from typing import Any

from .shorthand import Reader

Size = tuple[int, ...]
"""Sides along the axes of a grid or an image: (height, width) or, of a video or a volume, (frames, height, width)."""

Pair = Size
"""(height, width): a size in code that is for images alone."""

_SPEC = "key"
READS = "reads"
WORDS = "words"

UNPARSED = "unparsed"
"""The type of the error for a value that `parsed` refuses. Its message is for users."""


class Later:
    """A schema that is made when it is first needed: by a function of `schemas`, by its name, or by another function."""

    def __init__(self, make: str | Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Take the function and its arguments, which may be schemas to be made."""
        self.make, self.arguments, self.named = make, arguments, named


def made(schema: Any) -> Any:
    """A schema as pydantic-core has it; what is not a schema is returned unchanged."""
    return _made(schema) if isinstance(schema, Later) else schema


@cache
def _made(later: Later) -> Any:
    from . import schemas

    make = getattr(schemas, later.make) if isinstance(later.make, str) else later.make
    return made(make(*map(made, later.arguments), **later.named))


def words_changed() -> None:
    """Make schemas anew: the words that some of them are made of are others."""
    _made.cache_clear()


def _maker(name: str) -> Callable[..., Later]:
    return partial(Later, name)


FLAG, TEXT = Later("flag"), Later("text")
whole, number, share = _maker("whole"), _maker("number"), _maker("share")
flag_or_whole, only, choice = _maker("flag_or_whole"), _maker("only"), _maker("choice")
pair, indexes, optional = _maker("pair"), _maker("indexes"), _maker("optional")
size, side_or_sides = _maker("size"), _maker("side_or_sides")
many, listed, one_or_more, texts = _maker("many"), _maker("listed"), _maker("one_or_more"), _maker("texts")
named, anything, union = _maker("named"), _maker("anything"), _maker("union")
parsed, keys_of, keys_or_one = _maker("parsed"), _maker("class_schema"), _maker("keys_or_one")
"""What values keys accept: `schemas` has the function of each name."""


def key(
    accepts: Later | type | Callable[[], Later],
    description: str | Callable[[], str],
    *,
    example: Any,
    default: Any = MISSING,
    instead: Mapping[str, str] | None = None,
) -> Any:
    """A field of a config class; without a default it is required.

    Args:
        accepts: a schema of this module, or another config class; a function that makes a schema of the words that there
            are by then, which grow with each family that is added.
        description: one or two sentences, for the JSON Schema, or a function that writes them likewise.
        example: a value that would be right, as YAML has it.
        default: its value where a file does not name it.
        instead: advice for words that people try and the key does not take, by how these words begin.
    """
    make = Later("class_schema", accepts) if isinstance(accepts, type) else accepts
    schema = make if isinstance(make, Later) else Later(make)
    spec = {"schema": schema, "description": description, "example": example, "instead": instead or {}}
    return field(default=default, metadata={_SPEC: spec})


def like(config: type, name: str) -> Any:
    """The key `name` of another config class, made optional: it is None if left out."""
    entry = {field.name: field for field in fields(config)}[name]
    spec = entry.metadata[_SPEC]
    return field(default=None, metadata={_SPEC: {**spec, "schema": optional(spec["schema"])}})


def example_of(entry: Field[Any]) -> Any:
    """A value that would be right."""
    return entry.metadata[_SPEC]["example"]


def description_of(entry: Field[Any]) -> str:
    """What it means."""
    description = entry.metadata[_SPEC]["description"]
    return str(description() if callable(description) else description)


def choices_of(entry: Field[Any]) -> list[str]:
    """The words of a `choice`, or those that a `parsed` key offers; [] for any other key."""
    offered = schema_of(entry).get("metadata", {}).get(WORDS, ())
    expected = _inner(_inner(schema_of(entry))).get("expected", offered)
    return [word for word in expected if isinstance(word, str)]


def is_flag(entry: Field[Any]) -> bool:
    """Whether a key is true or false."""
    return bool(schema_of(entry) == made(FLAG))


def reader_of(entry: Field[Any]) -> Reader | None:
    """The function that reads a shorthand value of a key (see `shorthand`); None if the key has no shorthand."""
    schema = schema_of(entry)
    schema = schema["schema"] if schema["type"] == "nullable" else schema
    reader: Reader | None = schema.get("metadata", {}).get(READS)
    return reader


def instead_of(entry: Field[Any], word: str) -> str:
    """Advice for a word that a key does not take; "" if there is none."""
    known: Mapping[str, str] = entry.metadata[_SPEC]["instead"]
    return next((advice for start, advice in known.items() if word.lower().startswith(start)), "")


def class_of(entry: Field[Any]) -> type | None:
    """The config class of a key's value, or of the items of its list; None for a plain value."""
    schema = _around(schema_of(entry))
    item = _around(schema.get("values_schema", schema.get("items_schema", [schema])[0]))
    config_class: type | None = item.get("cls")
    return config_class


def _around(schema: Any) -> Any:
    """What a schema is around, if it is optional or has a shorthand."""
    return schema.get("schema", schema) if schema["type"] in {"nullable", "function-before"} else schema


def _inner(schema: Any) -> Any:
    """What a schema is around, if it is around another."""
    return schema.get("schema", schema)


def schema_of(entry: Field[Any]) -> Any:
    """The schema of a key."""
    return made(entry.metadata[_SPEC]["schema"])
