"""The schemas of keys, which pydantic-core validates. `keys` has a name for each, for declarations.

pydantic-core is the library under pydantic. The rest of pydantic is not imported, because that made `samattn analyze`
start 0.09 s later; and this module is imported only to validate a file, because pydantic-core itself takes 0.03 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from ..errors import UsageError
from .keys import READS, UNPARSED, WORDS, description_of, example_of, schema_of
from .shorthand import Reader, read_indexes, read_pair, read_size, reader_of_words

SIDES = r"^\s*\d+(\s*[xX×]\s*\d+){1,2}\s*$"
"""Two or three sides as text, for the JSON Schema."""

AXES_OF_VIDEO = 3


def flag() -> CoreSchema:
    """True or false."""
    return core_schema.bool_schema(strict=True)


def text() -> CoreSchema:
    """Text without control characters, and so without an escape for a terminal."""
    return core_schema.str_schema(strict=True, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


def whole(low: int, high: int) -> CoreSchema:
    """A whole number from `low` to `high`."""
    return core_schema.int_schema(strict=True, ge=low, le=high)


def number(above: float, high: float) -> CoreSchema:
    """A finite number above `above`, up to `high`."""
    return core_schema.float_schema(strict=True, gt=above, le=high, allow_inf_nan=False)


def flag_or_whole(low: int, high: int) -> CoreSchema:
    """True, false, or a whole number from `low` to `high`."""
    return core_schema.union_schema(
        [flag(), whole(low, high)],
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


def size(item: CoreSchema) -> CoreSchema:
    """(height, width) or (frames, height, width); also the text "16x224x224", or one number for a square."""
    sides = core_schema.tuple_variable_schema(item, min_length=2, max_length=AXES_OF_VIDEO)
    text = core_schema.str_schema(pattern=SIDES)
    return _reading(read_size, sides, core_schema.union_schema([item, sides, text]), _both)


def side_or_sides(item: CoreSchema) -> CoreSchema:
    """One number for all axes, or (frames, height, width); also the text "2x4x4"."""
    sides = core_schema.tuple_variable_schema(item, min_length=AXES_OF_VIDEO, max_length=AXES_OF_VIDEO)
    text = core_schema.str_schema(pattern=SIDES)
    of_sides = SchemaValidator(sides)

    def run(value: Any, validate: Callable[[Any], Any]) -> Any:
        value = read_size(value)
        has_sides = isinstance(value, tuple) and len(value) == AXES_OF_VIDEO
        return of_sides.validate_python(value) if has_sides else validate(value)

    return core_schema.no_info_wrap_validator_function(
        run,
        item,
        json_schema_input_schema=core_schema.union_schema([item, sides, text]),
        metadata={READS: read_size},
    )


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
    return listed(text(), least, most)


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
    return core_schema.no_info_after_validator_function(run, scalar, metadata={WORDS: list(words)})


def keys_or_one(config: type, name: str) -> CoreSchema:
    """The keys of a config class, or a plain value, which is short for a mapping with the key `name`."""
    schema = class_schema(config)
    plain = core_schema.union_schema([core_schema.str_schema(), core_schema.float_schema()])
    return _before(
        lambda value: {name: value} if isinstance(value, str | int | float) else value,
        schema,
        core_schema.union_schema([schema, plain]),
    )


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


def _with_default(entry: Field[Any]) -> CoreSchema:
    schema: CoreSchema = schema_of(entry)
    return (
        schema if entry.default is MISSING else core_schema.with_default_schema(schema, default=entry.default)
    )


def _js_updates(entry: Field[Any]) -> dict[str, Any]:
    updates = {"description": description_of(entry), "examples": [example_of(entry)]}
    return {"pydantic_js_updates": updates}


def _reading(
    reads: Reader, schema: CoreSchema, accepts: CoreSchema, then: Callable[[Any], Any] = lambda value: value
) -> CoreSchema:
    """A schema for a value after `reads`, and then `then`, have converted it."""
    return core_schema.no_info_before_validator_function(
        lambda value: then(reads(value)), schema, json_schema_input_schema=accepts, metadata={READS: reads}
    )


def _before(function: Callable[[Any], Any], schema: CoreSchema, accepts: CoreSchema) -> CoreSchema:
    return core_schema.no_info_before_validator_function(function, schema, json_schema_input_schema=accepts)


def _both(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value, value)


def _sorted(value: Any) -> Any:
    sortable = isinstance(value, tuple) and all(type(item) is int for item in value)
    return tuple(sorted(value)) if sortable else value
