"""The keys of a config: each is a dataclass field with the values that it accepts, its meaning and an example.

pydantic-core, the library under pydantic, validates them. The rest of pydantic is not imported, because that made
`samattn analyze` start 0.09 s later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from functools import cache
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..errors import UsageError
from .shorthand import Reader, read_indexes, read_pair, reader_of_words

Pair = tuple[int, int]
"""(height, width)."""

_SPEC = "key"
_READS = "reads"
_WORDS = "words"

UNPARSED = "unparsed"
"""The type of the error for a value that `parsed` refuses. Its message is for users."""

FLAG = core_schema.bool_schema(strict=True)
TEXT = core_schema.str_schema(strict=True, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")  # no escape for a terminal


def key(
    accepts: CoreSchema | type | Callable[[], CoreSchema],
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
    schema = class_schema(accepts) if isinstance(accepts, type) else accepts
    spec = {"schema": schema, "description": description, "example": example, "instead": instead or {}}
    return field(default=default, metadata={_SPEC: spec})


def whole(low: int, high: int) -> CoreSchema:
    """A whole number from `low` to `high`."""
    return core_schema.int_schema(strict=True, ge=low, le=high)


def number(above: float, high: float) -> CoreSchema:
    """A finite number above `above`, up to `high`."""
    return core_schema.float_schema(strict=True, gt=above, le=high, allow_inf_nan=False)


def flag_or_whole(low: int, high: int) -> CoreSchema:
    """True, false, or a whole number from `low` to `high`."""
    return core_schema.union_schema(
        [FLAG, whole(low, high)],
        custom_error_type=UNPARSED,
        custom_error_message=f"must be true, false, or a whole number from {low} to {high}",
    )


def share() -> CoreSchema:
    """A share: at least 0 and below 1."""
    return core_schema.float_schema(strict=True, ge=0, lt=1, allow_inf_nan=False)


def choice(*words: str, also: Mapping[str, str] | None = None) -> CoreSchema:
    """One of some words, in any case. `also` has other names for them, such as {"fp16": "float16"}."""
    known = core_schema.literal_schema(list(words))
    accepts = core_schema.literal_schema([*words, *(also or {})])
    return _reading(reader_of_words(words, also or {}), known, accepts)


def only(number: int) -> CoreSchema:
    """One number and no other."""
    return core_schema.literal_schema([number])


def pair(item: CoreSchema) -> CoreSchema:
    """(height, width); also the text "896x1536", or one number for both."""
    both = core_schema.tuple_positional_schema([item, item])
    text = core_schema.str_schema(pattern=r"^\s*\d+\s*[xX×]\s*\d+\s*$")
    return _reading(read_pair, both, core_schema.union_schema([item, both, text]), _both)


def optional(schema: CoreSchema) -> CoreSchema:
    """What a schema accepts, or null, which means the same as leaving the key out."""
    return core_schema.nullable_schema(schema)


def indexes() -> CoreSchema:
    """Whole numbers from 0, sorted; also one number, the text "3,7,15", or "none"."""
    one = core_schema.int_schema(strict=True, ge=0)
    several = core_schema.tuple_variable_schema(one, strict=True)
    text = core_schema.str_schema(pattern=r"^\s*(none|\d+(\s*,\s*\d+)*)\s*$")
    return _reading(read_indexes, several, core_schema.union_schema([several, one, text]), _sorted)


def many(config: type, least: int, most: int) -> CoreSchema:
    """A list of `least` to `most` objects of a config class."""
    return listed(class_schema(config), least, most)


def listed(item: CoreSchema, least: int, most: int) -> CoreSchema:
    """A list of `least` to `most` items."""
    return core_schema.tuple_variable_schema(item, min_length=least, max_length=most, strict=True)


def one_or_more(item: CoreSchema) -> CoreSchema:
    """A list of one item or more, or one text, which is short for a list of it."""
    several = core_schema.tuple_variable_schema(item, min_length=1, strict=True)
    alone = core_schema.union_schema([several, core_schema.str_schema()])
    return _before(lambda value: (value,) if isinstance(value, str) else value, several, alone)


def named(config: type) -> CoreSchema:
    """A mapping from names to objects of a config class."""
    return core_schema.dict_schema(core_schema.str_schema(strict=True), class_schema(config))


def anything() -> CoreSchema:
    """A mapping with any keys and values, which are checked elsewhere."""
    return core_schema.dict_schema(core_schema.str_schema(strict=True), core_schema.any_schema())


def union(*schemas: CoreSchema) -> CoreSchema:
    """What one of several schemas accepts."""
    return core_schema.union_schema(list(schemas))


def texts(least: int, most: int) -> CoreSchema:
    """From `least` to `most` lines of text."""
    return listed(TEXT, least, most)


def parsed(
    parse: Callable[[Any], Any], what: str, *accepts: CoreSchema, words: tuple[str, ...] = ()
) -> CoreSchema:
    """A value that `parse` converts.

    Args:
        parse: converts the value, or raises a `UsageError` that says what is wrong with it.
        what: what the value must be, in words.
        accepts: the schemas of the values that `parse` takes.
        words: values to offer where one completes a command.
    """

    def run(value: Any) -> Any:
        try:
            return parse(value)
        except UsageError as error:
            raise PydanticCustomError(UNPARSED, "{problem}", {"problem": error.message}) from None

    scalar = core_schema.union_schema(
        list(accepts), custom_error_type=UNPARSED, custom_error_message=f"must be {what}"
    )
    return core_schema.no_info_after_validator_function(run, scalar, metadata={_WORDS: list(words)})


def keys_or_one(config: type, name: str) -> CoreSchema:
    """The keys of a config class, or a plain value, which is short for a mapping with the key `name`."""
    schema = class_schema(config)
    plain = core_schema.union_schema([core_schema.str_schema(), core_schema.float_schema()])
    return _before(
        lambda value: {name: value} if isinstance(value, str | int | float) else value,
        schema,
        core_schema.union_schema([schema, plain]),
    )


def like(config: type, name: str) -> Any:
    """The key `name` of another config class, made optional: it is None if left out."""
    entry = {field.name: field for field in fields(config)}[name]
    spec = entry.metadata[_SPEC]
    return field(default=None, metadata={_SPEC: {**spec, "schema": optional(_schema(entry))}})


def class_schema(config: type) -> CoreSchema:
    """The schema of a config class, from its keys."""
    entries = [
        core_schema.dataclass_field(
            entry.name, _with_default(entry), kw_only=True, metadata=_js_updates(entry)
        )
        for entry in fields(config)
    ]
    arguments = core_schema.dataclass_args_schema(config.__name__, entries, extra_behavior="forbid")
    return core_schema.dataclass_schema(
        config, arguments, [entry.name for entry in fields(config)], frozen=True
    )


def example_of(entry: Field[Any]) -> Any:
    """A value that would be right."""
    return entry.metadata[_SPEC]["example"]


def description_of(entry: Field[Any]) -> str:
    """What it means."""
    description = entry.metadata[_SPEC]["description"]
    return str(description() if callable(description) else description)


def choices_of(entry: Field[Any]) -> list[str]:
    """The words of a `choice`, or those that a `parsed` key offers; [] for any other key."""
    offered = _schema(entry).get("metadata", {}).get(_WORDS, ())
    expected = _inner(_inner(_schema(entry))).get("expected", offered)
    return [word for word in expected if isinstance(word, str)]


def is_flag(entry: Field[Any]) -> bool:
    """Whether a key is true or false."""
    return bool(_schema(entry) == FLAG)


def reader_of(entry: Field[Any]) -> Reader | None:
    """The function that reads a shorthand value of a key (see `shorthand`); None if the key has no shorthand."""
    schema = _schema(entry)
    schema = schema["schema"] if schema["type"] == "nullable" else schema
    reader: Reader | None = schema.get("metadata", {}).get(_READS)
    return reader


def instead_of(entry: Field[Any], word: str) -> str:
    """Advice for a word that a key does not take; "" if there is none."""
    known: Mapping[str, str] = entry.metadata[_SPEC]["instead"]
    return next((advice for start, advice in known.items() if word.lower().startswith(start)), "")


def class_of(entry: Field[Any]) -> type | None:
    """The config class of a key's value, or of the items of its list; None for a plain value."""
    schema = _around(_schema(entry))
    item = _around(schema.get("values_schema", schema.get("items_schema", [schema])[0]))
    config_class: type | None = item.get("cls")
    return config_class


def _around(schema: Any) -> Any:
    """What a schema is around, if it is optional or has a shorthand."""
    return schema.get("schema", schema) if schema["type"] in {"nullable", "function-before"} else schema


def _with_default(entry: Field[Any]) -> CoreSchema:
    schema: CoreSchema = _schema(entry)
    return (
        schema if entry.default is MISSING else core_schema.with_default_schema(schema, default=entry.default)
    )


def _js_updates(entry: Field[Any]) -> dict[str, Any]:
    updates = {"description": description_of(entry), "examples": [example_of(entry)]}
    return {"pydantic_js_updates": updates}


def _schema(entry: Field[Any]) -> Any:
    schema = entry.metadata[_SPEC]["schema"]
    return _made(schema) if callable(schema) else schema


@cache
def _made(schema: Callable[[], CoreSchema]) -> CoreSchema:
    return schema()


def words_changed() -> None:
    """Make schemas anew that functions make: the words that they are made of are others."""
    _made.cache_clear()


def _inner(schema: Any) -> Any:
    """What a schema is around, if it is around another."""
    return schema.get("schema", schema)


def _reading(
    reads: Reader, schema: CoreSchema, accepts: CoreSchema, then: Callable[[Any], Any] = lambda value: value
) -> CoreSchema:
    """A schema for a value after `reads`, and then `then`, have converted it."""
    return core_schema.no_info_before_validator_function(
        lambda value: then(reads(value)), schema, json_schema_input_schema=accepts, metadata={_READS: reads}
    )


def _before(function: Callable[[Any], Any], schema: CoreSchema, accepts: CoreSchema) -> CoreSchema:
    return core_schema.no_info_before_validator_function(function, schema, json_schema_input_schema=accepts)


def _both(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value, value)


def _sorted(value: Any) -> Any:
    sortable = isinstance(value, tuple) and all(type(item) is int for item in value)
    return tuple(sorted(value)) if sortable else value
