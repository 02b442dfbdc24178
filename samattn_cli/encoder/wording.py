"""Messages for what pydantic-core finds wrong with a value: what is wrong, and what would be right."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import Field, fields
from functools import cache, lru_cache
from typing import Any

from ..errors import Message, code_of, did_you_mean
from ..patterns import pattern
from ..spelling import known_as
from .keys import UNPARSED, choices_of, class_of, example_of, instead_of, reader_of
from .model import EncoderConfig, StageConfig
from .shorthand import Reader, read_pair, read_size
from .tree import Loc

UNKNOWN_KEY = "unexpected_keyword_argument"
OTHER_KEYS = {
    **dict.fromkeys(("hidden_size", "hidden_dim", "dim", "width", "d_model", "channels"), "embed_dim"),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "layers", "num_blocks", "depths"), "depth"),
    **dict.fromkeys(("num_attention_heads", "heads"), "num_heads"),
    **dict.fromkeys(("resolution", "img_size", "input_size"), "image_size"),
    **dict.fromkeys(("in_channels", "num_channels"), "in_chans"),
    **dict.fromkeys(("global_attn", "global_layers", "global_blocks"), "global_attn_indexes"),
    **dict.fromkeys(("num_windows", "n_windows"), "num_windows_side"),
    **dict.fromkeys(("use_rel_pos", "relative_positions"), "rel_pos"),
    **dict.fromkeys(("use_abs_pos", "abs_pos"), "pos_embed"),
    **dict.fromkeys(("precision", "torch_dtype"), "dtype"),
    **dict.fromkeys(("attn_implementation", "kernel"), "attention"),
}
"""Names of keys in timm, transformers and SAM's code, and the key that each means here."""

COUNTED_OTHERWISE = {
    "num_windows": " It counts the windows of one side; num_windows counts all of them in LW-DETR, those of a side in RF-DETR"
}
"""How the number of another tool's key may differ from that of the key here, to end a message with."""

OF_THRESHOLDS = {
    "until": "expires",
    "expiry": "expires",
    "deadline": "expires",
    "max": "limit",
    "threshold": "limit",
}
"""Other names of keys of a thresholds file."""

TWO = pattern(r"(\d+)\s*[,*:/×]\s*(\d+)")
PIXELS = pattern(r"(\d+)\s*(px|pixels?)")
MOST_ITEMS = 5
MOST_CHARACTERS = 60
WRITTEN_OUT = (1e6, 1e16)  # floats that Python writes with all their zeros
MOST_BITS = 10_000  # Python refuses to write out an int of more than 4,300 digits


def explain(loc: Loc, error: Any, *, root: type = EncoderConfig, flat: bool = False) -> Message:
    """What is wrong at `loc` of a file that describes a `root`, and what would be right.

    Args:
        loc: the path of keys.
        error: one of pydantic-core's `ErrorDetails`.
        root: the config class of the file.
        flat: whether the keys of the one stage are at the top level.
    """
    key, kind, value = _dotted(loc, flat), error["type"], error["input"]
    if kind in NOT_SIDES and isinstance(value, tuple | str) and (forms := _forms_of_sides(loc, root)):
        return Message("not-a-pair", f"{key} must be {forms}, not {short(value)}{_one_pair(value)}")
    if kind == "missing":
        return Message("missing-key", f"{key} is missing{_example(loc, root)}")
    if kind == UNKNOWN_KEY and root is EncoderConfig and len(loc) == 1 and key in _fields(StageConfig):
        return Message(
            "misplaced-key", f"{key} is a key of a stage: move it into 'stages:', which this file also has"
        )
    if kind == UNKNOWN_KEY:
        hint = _home(loc, root) or _similar_key(str(loc[-1]), _known_keys(loc, root))
        return Message("unknown-key", f"unknown key {key!r}{hint}")
    if kind == UNPARSED:
        return _unparsed(key, error)
    return _unexpected(key, loc, error, root)


def _unparsed(key: str, error: Any) -> Message:
    """A value that the parser of its key refuses."""
    reason = error.get("ctx", {}).get("problem", error["msg"])
    return Message(code_of(reason) or "not-a-quantity", f"{key} {short(error['input'])}: {reason}")


def _unexpected(key: str, loc: Loc, error: Any, root: type) -> Message:
    """A value of the wrong type, out of range, or not among the choices."""
    kind, value = error["type"], error["input"]
    limits = {name: _number(limit) for name, limit in error.get("ctx", {}).items()}
    expected = _EXPECTED.get(kind, CANNOT_BE_READ)
    hint = ""
    if kind == "literal_error" and isinstance(value, str):
        hint = suggestion(value, field_at(loc, root))
    example = "" if hint else _example(loc, root)
    return Message(
        expected.code, f"{key or 'a key'} {expected.format(**limits)}{example}, not {short(value)}{hint}"
    )


def _number(limit: Any) -> str:
    return f"{limit:,.0f}" if isinstance(limit, (int, float)) else str(limit)


CANNOT_BE_READ = Message("wrong-type", "cannot be read")
_EXPECTED = {
    "int_type": Message("wrong-type", "must be a whole number"),
    "int_from_float": Message("wrong-type", "must be a whole number"),
    "float_type": Message("wrong-type", "must be a number"),
    "finite_number": Message("out-of-range", "must be a finite number"),
    "bool_type": Message("wrong-type", "must be true or false"),
    "string_type": Message("wrong-type", "must be text"),
    "string_pattern_mismatch": Message("control-characters", "must be one line without control characters"),
    "string_unicode": Message("not-utf-8", "must be text without lone surrogates"),
    "literal_error": Message("unknown-value", "must be {expected}"),
    "greater_than_equal": Message("out-of-range", "must be at least {ge}"),
    "greater_than": Message("out-of-range", "must be above {gt}"),
    "less_than_equal": Message("out-of-range", "must be at most {le}"),
    "less_than": Message("out-of-range", "must be below {lt}"),
    "too_short": Message("wrong-length", "must have {min_length} or more entries"),
    "too_long": Message("wrong-length", "must have {max_length} or fewer entries"),
    "tuple_type": Message("wrong-type", "must be a list"),
    "dataclass_type": Message("wrong-type", "must be a mapping of keys"),
    "dict_type": Message("wrong-type", "must be a mapping of keys"),
}
"""What a value must be, for each of pydantic-core's types of error."""


def _example(loc: Loc, root: type) -> str:
    field = field_at(loc, root)
    if field is None:
        return ""
    example = example_of(field)
    is_item = isinstance(loc[-1], int) and isinstance(example, list)
    return f" (such as {short(example[0] if is_item else example)})"


def suggestion(word: str, field: Any) -> str:
    """What to use instead of a word that a key does not take, to end a message with; "" if nothing is similar."""
    advice = instead_of(field, word)
    return f"; {advice}" if advice else did_you_mean(word, choices_of(field))


def word_at(loc: Loc, word: str) -> str:
    """What a word means as the value of a key: for ("run", "mode"), "Train" means "training"."""
    field = field_at(loc)
    reads = reader_of(field) if field is not None else None
    return str(reads(word)) if reads else word


def _similar_key(word: str, known: Collection[str]) -> str:
    """The key that a word means in another tool, or the key whose name is most similar."""
    others = OTHER_KEYS | OF_THRESHOLDS
    other = others.get(known_as(word, others) or "", word)
    return did_you_mean(other if other in known else word, known) + COUNTED_OTHERWISE.get(word, "")


NOT_SIDES = ("missing", "too_short", "too_long", "int_type")
"""The types of the errors for a wrong number of sides, or for text in place of them."""
FORMS_OF_SIDES: dict[Reader, str] = {
    read_pair: "a number or [height, width]",
    read_size: "a number, [height, width] or, of videos and volumes, [frames, height, width]",
}


def _forms_of_sides(loc: Loc, root: type) -> str:
    """The forms of a key that has sides; "" for any other key, and for the patch, which is square in images."""
    field = field_at(loc, root)
    reader = reader_of(field) if field is not None and field.name != "patch_size" else None
    return FORMS_OF_SIDES.get(reader, "") if reader is not None else ""


def _one_pair(value: Any) -> str:
    """How to write "512,768" as a height and a width, and "512px" as a number."""
    if not isinstance(value, str):
        return ""
    if pair := TWO.fullmatch(value.strip()):
        return f"; for a height and a width, write {pair[1]}x{pair[2]}"
    pixels = PIXELS.fullmatch(value.strip())
    return f"; write {pixels[1]}" if pixels else ""


def _home(loc: Loc, root: type) -> str:
    """Where a misplaced key belongs."""
    homes = {"at the top level": root, **{f"in '{key}:'": inner for key, inner in _classes(root).items()}}
    owner = _owner(loc, root)
    fitting = [home for home, config in homes.items() if config is not owner and loc[-1] in _fields(config)]
    dotted = f" (run.{loc[-1]})" if fitting == ["in 'run:'"] else ""
    return f"; it belongs {fitting[0]}{dotted}" if fitting else ""


def short(value: Any) -> str:
    """A value as YAML has it, cut if long."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, (tuple, list)):
        more = ", ..." if len(value) > MOST_ITEMS else ""
        text = f"[{', '.join(map(short, value[:MOST_ITEMS]))}{more}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {short(item)}' for key, item in value.items())}}}"
    elif isinstance(value, float) and not math.isfinite(value):
        text = f"{value:+}".replace("+", "").replace("inf", ".inf").replace("nan", ".nan")
    elif isinstance(value, float) and WRITTEN_OUT[0] <= value < WRITTEN_OUT[1]:
        text = f"{value:.10g}".replace("e+", "e")
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        text = "a huge number"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return cut(text)


def cut(text: str) -> str:
    """The text, cut to the length that a message has room for."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _owner(loc: Loc, root: type) -> type:
    """The config class that the last key of `loc` belongs to."""
    owner = root
    for key in _keys(loc)[:-1]:
        owner = _classes(owner).get(key, owner)
    return owner


@lru_cache(maxsize=4096)
def field_at(loc: Loc, root: type = EncoderConfig) -> Any:
    """The dataclass field at `loc`; None if it is not the path of a known key."""
    keys = _keys(loc)
    return _fields(_owner(loc, root)).get(keys[-1]) if keys else None


def _keys(loc: Loc) -> list[str]:
    return [part for part in loc if isinstance(part, str)]


@cache
def _classes(config: type) -> dict[str, type]:
    """The keys of a config class whose values are other config classes."""
    classes = {name: class_of(field) for name, field in _fields(config).items()}
    return {name: inner for name, inner in classes.items() if inner is not None}


@cache
def _fields(config: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(config)}


def _known_keys(loc: Loc, root: type) -> list[str]:
    owner = _owner(loc, root)
    return [*_fields(owner), *([*_fields(StageConfig), "extends"] if owner is EncoderConfig else ())]


def _dotted(loc: Loc, flat: bool) -> str:
    """A path as messages show it: "stages.1.depth", or "depth" if `flat`. An item of a list is shown by the list's key."""
    shown = loc[2:] if flat and loc[:1] == ("stages",) and len(loc) > len(("stages", 0)) else loc
    while len(shown) > 1 and isinstance(shown[-1], int) and shown[-2] != "stages":
        shown = shown[:-1]
    return ".".join(map(str, shown))
