"""Tables of the pages that are made of the code: the keys of a config, and the words that they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from samattn_cli.encoder.applicable_keys import readers
from samattn_cli.encoder.keys import choices_of, description_of
from samattn_cli.encoder.model import EncoderConfig, OverrideConfig, RunConfig, StageConfig
from samattn_cli.encoder.registry import BLOCKS, NECKS, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS, summaries

KEYS_HEADER = """\
| {} | default | what it is |
| :-- | :-- | :-- |
"""
WORDS_HEADER = """\
| key | word | what it is | tokens | attention kernels |
| :-- | :-- | :-- | :-- | :-- |
"""
MODELS: dict[str, type] = {
    "key of the encoder": EncoderConfig,
    "key of a stage": StageConfig,
    "key of `overrides`": OverrideConfig,
    "key of `run`": RunConfig,
}
SLOTS = {
    "block": BLOCKS,
    "patch_embed": PATCH_EMBEDS,
    "pos_embed": POS_EMBEDS,
    "transition": TRANSITIONS,
    "neck": NECKS,
}
DEFAULTS = {"name": "the file's name", "run": "the defaults below"}


def tables() -> dict[str, str]:
    """Each table by its header."""
    keys = {KEYS_HEADER.format(title): "".join(_keys(model)) for title, model in MODELS.items()}
    return {**keys, WORDS_HEADER: "".join(f"{line}\n" for line in words())}


def words() -> Iterator[str]:
    """A line for each word of the families: what it is, how the tokens lie that it takes and makes, its kernels."""
    yield from (
        _word("block", *item, item[1].layout.name, ", ".join(item[1].kernels)) for item in BLOCKS.items()
    )
    yield from (_word("patch_embed", *item, item[1].makes.name, "") for item in PATCH_EMBEDS.items())
    for key, parts in (("pos_embed", POS_EMBEDS), ("transition", TRANSITIONS), ("neck", NECKS)):
        for word, part in parts.items():
            yield _word(
                key, word, part, " to ".join(each.name for each in (part.takes, part.makes) if each), ""
            )


def _word(key: str, word: str, declared: Any, tokens: str, kernels: str) -> str:
    return f"| `{key}` | `{word}` | {declared.summary.rstrip('.')} | {tokens} | {kernels} |"


def _keys(model: type) -> Iterator[str]:
    for entry in fields(model):
        readers = "" if model is OverrideConfig else _readers(entry.name)
        yield f"| `{entry.name}` | {_default(entry)} | {_description(entry)}{readers} |\n"


def _readers(key: str) -> str:
    """The words that read a key, where not every encoder does."""
    lines = (
        (chooser, [f"`{word}`" for word, keys in words.items() if key in keys])
        for chooser, words in readers().items()
    )
    said = "; ".join(f"{chooser} {', '.join(names)}" for chooser, names in lines if names)
    return f" Read by {said}." if said else ""


def _default(entry: Field[Any]) -> str:
    value = entry.default
    if value is MISSING:
        return "required"
    if entry.name in DEFAULTS or value is None:
        return DEFAULTS.get(entry.name, "left out")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{value[0] if len({*value}) == 1 else list(value)}`" if value else "`[]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else ""


def _description(entry: Field[Any]) -> str:
    """What a key is, with its words where the description does not give them."""
    text = description_of(entry)
    if entry.name in SLOTS:
        return f"{text.removesuffix(summaries(SLOTS[entry.name])).strip().removesuffix(' none: no positions.')} See the words below."
    missing = [word for word in choices_of(entry) if word not in text]
    return f"{text} One of {', '.join(f'`{word}`' for word in choices_of(entry))}." if missing else text
