"""Which keys apply: some are read by certain kinds of block, position embedding or neck only.

A key that nothing reads is refused wherever it is written, at its default too: its writer expects it to do something.
A config that extends another need not repeat its keys: a word of its own, such as `block: vit`, replaces the word that it
inherits, together with the inherited keys that only the replaced word reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from .model import EncoderConfig, StageConfig
from .registry import BLOCKS, NECKS, NONE, POS_EMBEDS
from .tree import Node

OF_TABLES = frozenset({"rel_pos_grid"})

Readers = Mapping[str, Mapping[str, frozenset[str]]]
"""By the key that chooses: its words, and the keys that each word reads beside those that are always read."""

DEFAULTS = {field.name: field.default for model in (EncoderConfig, StageConfig) for field in fields(model)}


def stage_readers() -> Readers:
    """The choosing keys of a stage."""
    return {
        "block": {word: block.keys for word, block in BLOCKS.items()},
        "rel_pos": {NONE: frozenset(), "decomposed": OF_TABLES, "joint": OF_TABLES},
    }


def encoder_readers() -> Readers:
    """The choosing keys of an encoder."""
    return {
        "pos_embed": {NONE: frozenset(), **{word: part.keys for word, part in POS_EMBEDS.items()}},
        "neck": {NONE: frozenset(), **{word: part.keys for word, part in NECKS.items()}},
    }


def readers() -> Readers:
    """The choosing keys of both."""
    return {**stage_readers(), **encoder_readers()}


def unused_keys(chooser: str, word: str) -> list[str]:
    """The keys that other words of a chooser read, and this one does not."""
    words = readers()[chooser]
    some = frozenset(key for keys in words.values() for key in keys)
    return sorted(some - words.get(word, some))


def unused_key(chooser: str, word: str, key: str) -> str:
    """What is wrong with a key that a word does not read, and which words read it."""
    *most, last = (other for other, keys in readers()[chooser].items() if key in keys)
    others = f"{', '.join(most)} or {last}" if most else last
    whose = f"blocks of {word} have" if chooser == "block" else f"{chooser} {word} has"
    return f"{whose} no {key}: leave it out, or use {chooser}: {others}"


def without_replaced_keys(tree: Node, layer: Iterable[tuple[str, Any]]) -> Node:
    """The tree without the keys that only those words read which a layer, by its dotted keys, replaces."""
    for key, word in layer:
        *place, chooser = key.split(".")
        if chooser in stage_readers() and not place:
            place = ["stages", "0"]  # which has the keys of a single stage
        if chooser in readers() and isinstance(word, str):
            tree = _without_replaced(
                tree, [int(part) if part.isdecimal() else part for part in place], chooser, word
            )
    return tree


def _without_replaced(node: Node, place: list[int | str], chooser: str, word: str) -> Node:
    if place:
        inner = node.step(place[0])
        return (
            node
            if inner is None
            else _put(node, place[0], _without_replaced(inner, place[1:], chooser, word))
        )
    if not isinstance(node.value, dict):
        return node
    gone = _replaced(chooser, node.value, word)
    return replace(node, value={key: inner for key, inner in node.value.items() if key not in gone})


def _put(node: Node, key: int | str, inner: Node) -> Node:
    """The node with another value of a key, or another item of its list."""
    value: Any = node.value
    held: Any = dict(value) if isinstance(value, dict) else list(value)
    held[key] = inner
    return replace(node, value=held)


def _replaced(chooser: str, below: Mapping[str, Node], word: str) -> frozenset[str]:
    """The keys that the word below reads, and the word that takes its place does not."""
    words = readers()[chooser]
    former = below[chooser].value if chooser in below else DEFAULTS[chooser]
    if not isinstance(former, str) or word not in words:
        return frozenset()
    return words.get(former, frozenset()) - words[word]


def mapping_of(config: EncoderConfig) -> dict[str, Any]:
    """All keys of a config that apply, as plain data that `load_config` reads."""
    keys = asdict(config)
    for stage in keys["stages"]:
        _leave_out(stage, stage_readers())
    _leave_out(keys, encoder_readers())
    return keys


def _leave_out(keys: dict[str, Any], choosers: Mapping[str, Any]) -> None:
    """Take out what the words of some keys do not read."""
    for chooser in choosers:
        if chooser in keys:
            for key in unused_keys(chooser, keys[chooser]):
                keys.pop(key, None)
