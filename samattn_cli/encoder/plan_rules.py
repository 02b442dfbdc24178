"""The rules on a whole encoder, checked once all of its keys are valid: those of its families, and of its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import Message
from ..units import format_size
from .checkpointed import problems_of_checkpointing
from .implementations import implementation_problems
from .kernels import unfit_shift
from .layout_rules import layout_problems
from .model import EncoderConfig
from .placement_rules import placement_problems
from .registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS
from .slots import OF_IMAGES, Problem
from .trained import problems_of_trains
from .tree import Loc


def problems_of_axes(config: EncoderConfig) -> Iterator[Problem]:
    """Parts that do not take grids with as many axes as the image has. Without such a problem, there is a plan."""
    image = config.image_size
    for loc, words, word in _words(config):
        if word != NONE and len(image) not in words[word].axes:
            kind = "videos and volumes" if len(image) in OF_IMAGES else "images"
            text = (
                f"{loc[-1]} {word} takes {kind}, and image_size {format_size(image)} has {len(image)} sides"
            )
            yield loc, Message("axes-differ", text)


def _words(config: EncoderConfig) -> Iterator[tuple[Loc, Mapping[str, Any], str]]:
    """The path of each key that names a part, what may be named there, and its word."""
    yield ("patch_embed",), PATCH_EMBEDS, config.patch_embed
    yield ("pos_embed",), POS_EMBEDS, config.pos_embed
    yield ("neck",), NECKS, config.neck
    for number, stage in enumerate(config.stages):
        yield ("stages", number, "block"), BLOCKS, stage.block
        yield ("stages", number, "transition"), TRANSITIONS, stage.transition


def problems_of_plan(config: EncoderConfig) -> Iterator[Problem]:
    """What is wrong with a config whose keys are valid by themselves and together, by the rules of its families."""
    yield from problems_of_trains(config)
    yield from problems_of_checkpointing(config)
    yield from implementation_problems(config)
    yield from layout_problems(config)
    for number, stage in enumerate(config.stages):
        yield from BLOCKS[stage.block].problems(config, number)
        yield from placement_problems(config, number)
        if stage.transition != NONE and number:
            yield from TRANSITIONS[stage.transition].problems(config, number)
        elif stage.transition != NONE:
            yield (
                ("stages", number, "transition"),
                Message(
                    "transition-of-first-stage",
                    f"transition {stage.transition} leads from one stage to the next, and nothing comes before the first "
                    "stage: remove it",
                ),
            )
    for layer in config.kinds:
        if problem := unfit_shift(config.run.attention, layer):
            yield ("run", "attention"), problem
    yield from PATCH_EMBEDS[config.patch_embed].problems(config, 0)
    for words, word in ((POS_EMBEDS, config.pos_embed), (NECKS, config.neck)):
        if word != NONE:
            yield from words[word].problems(config, 0)


def is_valid(config: EncoderConfig) -> bool:
    """Whether a config whose keys are valid keeps the rules of its families."""
    return next(problems_of_plan(config), None) is None
