"""`samattn import --image-size`: a checkpoint that is used at another image size than it was made for.

transformers and ultralytics keep its positions and resize them in each forward; timm resizes them when it loads the
checkpoint, so that its model has those of the new size.
"""

from __future__ import annotations

from ..encoder.implementations import implementation_problems
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..encoder.registry import BLOCKS, NONE, POS_EMBEDS, REFERENCE
from ..errors import ConfigError, ImportFailedError, Message
from ..files.load import load_config
from ..records import replace
from ..units import format_size
from .description import Keys, as_size

OPTION = "--image-size"
RESIZED_WHEN_LOADED = "timm"
NEXT_TO = {"image_size": "pretrain_image_size", "rel_pos": "rel_pos_grid"}
"""Keys, and the key of a kept size that is written after it."""


def at_another_size(keys: Keys, size: Size, library: str, notes: list[str], warnings: list[str]) -> Keys:
    """The keys of the encoder for images of `size`, with the positions of its checkpoint.

    Args:
        keys: those of the encoder as its source has it.
        size: (height, width) of the images.
        library: where its source comes from: "transformers", "timm", or "" for a checkpoint.
        notes: gets a sentence for readers of the config.
        warnings: gets a sentence if the library's model does not run at this size.

    Raises:
        ImportFailedError: if the encoder has no such size.
    """
    made_for = load_config(keys)
    if size == made_for.image_size:
        return keys
    kept = {} if library == RESIZED_WHEN_LOADED else _kept(made_for, keys)
    whole = _in_order({**keys, "image_size": as_size(size)}, kept)
    before, after = format_size(made_for.image_size), format_size(size)
    own = {key: value for key, value in whole.items() if key != "implementation"}
    config = _config_of(own, size)
    notes.append(_note(made_for, kept, library, before, after))
    implementation = keys.get("implementation", REFERENCE)
    if implementation == REFERENCE or not any(
        implementation_problems(replace(config, implementation=implementation))
    ):
        return whole
    warnings.append(
        Message(
            "implementation-cannot-run",
            f"The model of {implementation} does not run at {after} with positions made for {before}. The config is of "
            "samattn's own code, which resizes them in each forward.",
        )
    )
    return own


def _config_of(keys: Keys, size: Size) -> EncoderConfig:
    try:
        return load_config(keys)
    except ConfigError as error:
        problem = error.problems[0].message
        raise ImportFailedError(
            problem.code,
            f"{OPTION} {format_size(size)}: {'; '.join(each.message for each in error.problems)}",
        ) from None


def _kept(made_for: EncoderConfig, keys: Keys) -> Keys:
    """The keys that keep its positions: absolute ones, and the tables of relative ones in global blocks."""
    kept: Keys = {}
    word = made_for.pos_embed
    if word != NONE and "pretrain_image_size" in POS_EMBEDS[word].keys and "pretrain_image_size" not in keys:
        kept["pretrain_image_size"] = as_size(made_for.image_size)
    if "rel_pos" in keys and "rel_pos_grid" not in keys and _has_tables_of_the_grid(made_for):
        kept["rel_pos_grid"] = as_size(made_for.grid)
    return kept


def _has_tables_of_the_grid(config: EncoderConfig) -> bool:
    blocks = ((layer, BLOCKS[layer.stage.block]) for layer in config.layers)
    return any(
        layer.is_global and layer.stage.rel_pos != NONE and "rel_pos_grid" in block.keys
        for layer, block in blocks
    )


def _in_order(keys: Keys, kept: Keys) -> Keys:
    """The keys, each kept one after the one that it is about."""
    whole: Keys = {}
    for key, value in keys.items():
        whole[key] = value
        if (after := NEXT_TO.get(key)) in kept:
            whole[after] = kept[after]
    return whole


def _note(made_for: EncoderConfig, kept: Keys, library: str, before: str, after: str) -> str:
    if kept or made_for.pretrain_image_size is not None:
        return f"Used at {after}: its positions, made for {before}, are kept and resized in each forward."
    if library == RESIZED_WHEN_LOADED:
        return f"Used at {after}: timm resizes positions when it loads the checkpoint; they were made for {before}."
    return f"Used at {after}: its source says {before}."
