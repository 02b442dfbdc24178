"""Which keys apply: some keys are used only by certain kinds of block, position embedding or neck.

A key that nothing uses is an error wherever it is written, even at its default, because its author expects an effect.
When a config extends another and sets a word such as `block: vit`, the word replaces the inherited one, and the inherited
keys that only the replaced word uses are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

from ..errors import Message
from ..records import fields, replace
from .model import EncoderConfig, RunConfig, StageConfig
from .placement import GLOBAL_VALUES
from .registry import BLOCKS, NECKS, NONE, POS_EMBEDS, version
from .tree import Node

OF_TABLES = frozenset({"rel_pos_grid"})

Readers = Mapping[str, Mapping[str, frozenset[str]]]
"""Key -> its words -> the keys that each word uses, in addition to those that are always used."""

DEFAULTS = {
    field.name: field.default for model in (EncoderConfig, StageConfig, RunConfig) for field in fields(model)
}


def stage_readers() -> Readers:
    """The choosing keys of a stage."""
    return _stage_readers(version())


@lru_cache(maxsize=1)
def _stage_readers(_version: int) -> Readers:
    return {
        "block": {word: block.keys for word, block in BLOCKS.items()},
        "rel_pos": {NONE: frozenset(), "decomposed": OF_TABLES, "joint": OF_TABLES},
    }


def encoder_readers() -> Readers:
    """The choosing keys of an encoder."""
    return _encoder_readers(version())


@lru_cache(maxsize=1)
def _encoder_readers(_version: int) -> Readers:
    return {
        "pos_embed": {NONE: frozenset(), **{word: part.keys for word, part in POS_EMBEDS.items()}},
        "neck": {NONE: frozenset(), **{word: part.keys for word, part in NECKS.items()}},
    }


OF_FSDP = frozenset({"gpus", "param_dtype", "reduce_dtype", "cpu_offload"})
OF_PARALLEL: Mapping[str, frozenset[str]] = {
    NONE: frozenset(),
    "ddp": frozenset({"gpus", "gradient_as_bucket_view"}),
    "fsdp2": OF_FSDP | {"reshard_after_forward"},
    "zero1": frozenset({"gpus", "gradient_as_bucket_view"}),
    "zero2": OF_FSDP,
    "zero3": OF_FSDP,
}
OF_TRAINING = frozenset(
    {"step", "zero_grad", "accumulate", "parallel", "grad_scaler", "ema"}.union(*OF_PARALLEL.values())
)

RUN_READERS: Readers = {
    "mode": {"inference": frozenset({"grad"}), "training": OF_TRAINING},
    "parallel": OF_PARALLEL,
}
"""The choosing keys of a run. The keys that configs set next to `mode: inference` for their training steps are not here."""


def readers() -> Readers:
    """The choosing keys of all."""
    return {**stage_readers(), **encoder_readers(), **RUN_READERS}


def unused_keys(chooser: str, word: str) -> tuple[str, ...]:
    """The keys that other words of a chooser use, and this one does not."""
    return _unused_keys(chooser, word, version())


@lru_cache(maxsize=256)
def _unused_keys(chooser: str, word: str, _version: int) -> tuple[str, ...]:
    words = (
        RUN_READERS[chooser] if chooser in RUN_READERS else readers()[chooser]
    )  # `readers` imports every family
    some = frozenset(key for keys in words.values() for key in keys)
    return tuple(sorted(some - words.get(word, some)))


def unused_key(chooser: str, word: str, key: str) -> Message:
    """What is wrong with a key that a word does not use, and which words use it."""
    *most, last = (other for other, keys in readers()[chooser].items() if key in keys)
    users = f"{', '.join(most)} or {last}" if most else last
    return Message("unused-key", f"{chooser} {word} does not use {key}: remove it, or use {chooser}: {users}")


def without_replaced_keys(tree: Node, changes: Iterable[tuple[str, Any]]) -> Node:
    """The tree without the keys that only replaced words use; `changes` are dotted keys with their new values.

    Of the keys that say where blocks attend, one replaces the other.
    """
    for key, word in changes:
        *place, chooser = key.split(".")
        if (chooser in stage_readers() or chooser in GLOBAL_VALUES) and not place:
            place = ["stages", "0"]  # holds the keys of a single stage
        if chooser in readers() and isinstance(word, str):
            dropped = partial(_replaced_keys, chooser, word)
        elif chooser in GLOBAL_VALUES and word is not None:
            dropped = partial(_other_windows, chooser)
        else:
            continue
        tree = _without(tree, [int(part) if part.isdecimal() else part for part in place], dropped)
    return tree


def _without(
    node: Node, place: list[int | str], dropped: Callable[[Mapping[str, Node]], AbstractSet[str]]
) -> Node:
    """The node without some of the keys of a mapping in it."""
    if place:
        inner = node.step(place[0])
        return node if inner is None else _put(node, place[0], _without(inner, place[1:], dropped))
    if not isinstance(node.value, dict):
        return node
    keys = dropped(node.value)
    return replace(node, value={key: inner for key, inner in node.value.items() if key not in keys})


def _other_windows(key: str, _inherited: Mapping[str, Node]) -> AbstractSet[str]:
    """The other keys that say where blocks attend."""
    return GLOBAL_VALUES.keys() - {key}


def _put(node: Node, key: int | str, inner: Node) -> Node:
    """The node with one key of its mapping, or one item of its list, replaced."""
    value: Any = node.value
    entries: Any = dict(value) if isinstance(value, dict) else list(value)
    entries[key] = inner
    return replace(node, value=entries)


def _replaced_keys(chooser: str, word: str, inherited: Mapping[str, Node]) -> AbstractSet[str]:
    """The keys that the inherited word uses and the new word does not."""
    words = readers()[chooser]
    old_word = inherited[chooser].value if chooser in inherited else DEFAULTS[chooser]
    if not isinstance(old_word, str) or word not in words:
        return frozenset()
    return words.get(old_word, frozenset()) - words[word]


def mapping_of(config: EncoderConfig) -> dict[str, Any]:
    """All keys of a config that apply, as plain data that `load_config` reads."""
    keys = asdict(config)
    for stage in keys["stages"]:
        _leave_out(stage, stage_readers())
        for place in (stage, *stage["overrides"]):
            unset = "num_windows_side" if place.get("num_windows_side") is None else "window_size"
            place.pop(unset, None)
    _leave_out(keys, encoder_readers())
    _leave_out(keys["run"], RUN_READERS)
    return keys


def _leave_out(keys: dict[str, Any], choosers: Mapping[str, Any]) -> None:
    """Remove the keys that the chosen words do not use."""
    for chooser in choosers:
        if chooser in keys:
            for key in unused_keys(chooser, keys[chooser]):
                keys.pop(key, None)
