"""Which other image sizes an encoder's weights take: the shapes that change with the size, by the Tape, and what its words add."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..encoder.plan_rules import problems_of_plan
from ..encoder.registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS
from ..encoder.without_padding import has_padding, nearest_without_padding
from ..records import replace
from ..reports.other_sizes import OtherSize, OtherSizes
from .encoder import forward


def other_sizes(config: EncoderConfig) -> OtherSizes:
    """What the weights of an encoder need at other image sizes, and the nearest sizes without padding."""
    below, above = nearest_without_padding(config, others=True)
    larger = above or _doubled(config)
    return OtherSizes(
        image_size=config.image_size,
        resized=_resized(config, larger) if larger else (),
        without_padding=tuple(_at(config, size) for size in (below, above) if size),
        has_padding=has_padding(config),
        notes=tuple(dict.fromkeys(filter(None, _of_words(config)))),
    )


def weight_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Name to shape of each weight of an encoder, by the Tape."""
    return {
        segment.qualified(weight.name): tuple(map(int, weight.shape))
        for segment in forward(config).segments
        for weight in segment.recording.parameters
    }


def _doubled(config: EncoderConfig) -> Size | None:
    """A larger size, for encoders with none without padding nearby; None if they cannot run at it."""
    larger = replace(config, image_size=tuple([2 * side for side in config.image_size]))
    return None if any(True for _ in problems_of_plan(larger)) else larger.image_size


def _resized(config: EncoderConfig, size: Size) -> tuple[str, ...]:
    """The names of the weights that have another shape at a size. A weight in another module is the same weight."""
    ours, theirs = weight_shapes(config), weight_shapes(replace(config, image_size=size))
    if len(ours) == len(theirs):
        theirs = dict(zip(ours, theirs.values(), strict=True))
    return tuple(name for name, shape in ours.items() if theirs.get(name) != shape)


def _at(config: EncoderConfig, size: Size) -> OtherSize:
    params = int(forward(replace(config, image_size=size)).params)
    return OtherSize(size, params, params - int(forward(config).params), _resized(config, size))


def _of_words(config: EncoderConfig) -> Iterator[str]:
    """What the words of a config add."""
    yield PATCH_EMBEDS[config.patch_embed].other_sizes(config)
    if config.pos_embed != NONE:
        yield POS_EMBEDS[config.pos_embed].at_other_sizes(config)
    for stage in config.stages:
        yield BLOCKS[stage.block].other_sizes(config)
    if config.neck != NONE:
        yield NECKS[config.neck].at_other_sizes(config)
