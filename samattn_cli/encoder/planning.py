"""Makes the plan of an encoder from its config."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ..records import replace
from .implementations import implementation_of
from .placement import EVERYWHERE, Placement
from .plan import LayerConfig, PartConfig, Stretch
from .registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS, version
from .slots import BY_TURNS, Entering, Part, Stream, begin_of_group, entering_stage

if TYPE_CHECKING:
    from .model import EncoderConfig, StageConfig


def stretches_of(config: EncoderConfig) -> Iterator[Stretch]:
    """The parts and blocks of `config` in the order in which they run."""
    run = implementation_of(config)
    code = BLOCKS[config.stages[-1].block] if run is None else run.model
    holds = code.holds(config)
    stretches = _stretches_of(config, run.model.ending if run else "")
    return (
        stretches if not holds else _holding((part for stretch in stretches for part in stretch.parts), holds)
    )


def _holding(
    parts: Iterable[PartConfig | LayerConfig], holds: Mapping[str, tuple[str, ...]]
) -> Iterator[Stretch]:
    """The parts and blocks, some of which hold outputs of others; each alone."""
    for part in parts:
        yield Stretch(replace(part, holds=holds[part.name]) if part.name in holds else part)


def _stretches_of(config: EncoderConfig, ending: str = "") -> Iterator[Stretch]:
    layout = PATCH_EMBEDS[config.patch_embed].makes
    stream = Stream(config.grid, config.stages[0].embed_dim, layout=layout)
    yield Stretch(PartConfig("patch_embed", "patch_embeds", config.patch_embed, config, stream, stream))
    part: PartConfig | None
    for part in _before_blocks(config, stream):
        yield Stretch(part)
        stream = part.leaving
    index, before = 0, None
    for number, stage in enumerate(config.stages):
        if stage.transition != NONE:
            leaving = replace(TRANSITIONS[stage.transition].leaving(config, stream), dim=stage.embed_dim)
            name = f"transitions.{number}"
            taps = _taps_of_transition(config, number)
            yield Stretch(PartConfig(name, "transitions", stage.transition, config, stream, leaving, taps))
            stream = leaving
        is_fixed = all(type(side) is int for side in (*stream.grid, *_windows_of(stage)))
        stretches, stream = (_layers if is_fixed else _layers.__wrapped__)(
            stage, before, index, number, stream, version()
        )
        yield from stretches
        index += stage.depth
        before = stage
    if ending:
        yield Stretch(PartConfig(ending, "endings", ending, config, stream, stream))
    for part in _after_blocks(config, stream):
        yield Stretch(part)


def _windows_of(stage: StageConfig) -> Iterator[int]:
    """The sides of the windows of a stage and of its blocks."""
    yield from stage.window_size
    for override in stage.overrides:
        yield from override.window_size or ()


def _taps_of_transition(config: EncoderConfig, number: int) -> tuple[str, ...]:
    """The names of the parts whose outputs a transition takes; one that leads into the first stage is an error elsewhere."""
    declared = TRANSITIONS[config.stages[number].transition]
    skipped = (entering_stage(config, begin_of_group(config, number)),) if declared.skips and number else ()
    return (*declared.taps(config), *skipped)


def _before_blocks(config: EncoderConfig, stream: Stream) -> Iterator[PartConfig]:
    if config.pos_embed != NONE:
        part = _part("pos_embed", "pos_embeds", config.pos_embed, POS_EMBEDS, config, stream)
        yield part
        stream = part.leaving
    if config.pre_norm:
        yield PartConfig("pre_norm", "", "", config, stream, stream)


def _after_blocks(config: EncoderConfig, stream: Stream) -> Iterator[PartConfig]:
    if config.norm:
        yield PartConfig("norm", "", "", config, stream, stream)
    if config.neck != NONE:
        yield _part("neck", "necks", config.neck, NECKS, config, stream)


def _part(
    name: str, slot: str, word: str, words: Mapping[str, Part], config: EncoderConfig, stream: Stream
) -> PartConfig:
    declared = words[word]
    return PartConfig(
        name, slot, word, config, stream, declared.leaving(config, stream), declared.taps(config)
    )


@lru_cache(maxsize=64)
def _layers(
    stage: StageConfig, before: StageConfig | None, first: int, number: int, stream: Stream, _words: int
) -> tuple[tuple[Stretch, ...], Stream]:
    """The blocks of a stage, whose first has the number `first`, and what leaves the last; for a version of the words.

    Encoders that are compared share them: most differ in other stages, or in how they are run.
    """
    named, residual = frozenset(stage.global_attn_indexes), frozenset(stage.residual_block_indexes)
    shared = stage.at(first)  # by all blocks without overrides
    place = BLOCKS[stage.block].place
    is_by_turns = any(place is known for known in BY_TURNS)  # one of a family may have no hash
    same: dict[Placement, Placement] = {}
    kinds: dict[tuple[int, ...], tuple[Hashable, ...]] = {}
    alike: dict[tuple[int, ...], LayerConfig] = {}  # those that `stream` enters
    found: list[tuple[LayerConfig, int]] = []  # the first block of each stretch, and its position
    for position in range(stage.depth):
        index = first + position
        own = stage.at(index) if stage.overrides else shared
        key = id(own), index in named, index in residual, position % 2 if is_by_turns else position
        layer = alike.get(key)
        if layer is None:
            configured = EVERYWHERE if index in named else own.placement
            entering = Entering(own, before, position, stream.grid, configured, index in named)
            layer = _layer(entering, index, number, stream, same, has_residual_block=index in residual)
            vars(layer)["kind"] = kinds.setdefault(tuple(map(id, layer.kind)), layer.kind)
            alike[key] = layer
            leaving = layer.out_grid, stage.embed_dim, layer.layout
            if leaving != (stream.grid, stream.dim, stream.layout):
                grid, dim, layout = leaving
                stream = replace(stream, grid=grid, dim=dim, layout=layout)
                alike.clear()
        if not found or found[-1][0].kind is not layer.kind:
            found.append((layer.numbered(index), position))
    ends = (*(position for _, position in found[1:]), stage.depth)
    return tuple([Stretch(layer, end - at) for (layer, at), end in zip(found, ends, strict=True)]), stream


def _layer(
    entering: Entering,
    index: int,
    number: int,
    stream: Stream,
    same: dict[Placement, Placement],
    *,
    has_residual_block: bool,
) -> LayerConfig:
    """A block; those that attend in the same way share their placement, which is quick to compare."""
    placed = BLOCKS[entering.stage.block].place(entering)
    return LayerConfig(
        index=index,
        stage_index=number,
        stage=entering.stage,
        placement=same.setdefault(placed.where, placed.where),
        grid=stream.grid,
        in_dim=stream.dim,
        q_stride=placed.q_stride,
        extra_tokens=stream.extra_tokens,
        has_residual_block=has_residual_block,
        cut=stream.cut,
    )
