"""The plan of an encoder: its parts and blocks in order, each with what enters it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..records import dataclass, replace
from .implementations import implementation_of
from .keys import Size
from .layouts import TokenLayout
from .placement import EVERYWHERE, UNCUT, Placement, Windows, each_is
from .registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS, version
from .slots import BY_TURNS, Entering, Part, Stream, begin_of_group, entering_stage

if TYPE_CHECKING:
    from .model import EncoderConfig, StageConfig


@dataclass(frozen=True)
class PartConfig:
    """A part that is not a block.

    Attributes:
        name: its module in the real stack: "patch_embed", "transitions.1", "neck".
        slot: its slot, which tells where its code is; "" for a plain LayerNorm; "endings" for the step of an
            implementation after the last block.
        word: its word in this slot.
        config: the config of the encoder.
        entering: the stream that enters; for the patch embedding, the stream that it outputs.
        leaving: the stream that leaves.
        taps: the names of earlier parts whose outputs it takes in addition to the stream.
        holds: the names of earlier parts whose outputs the encoder's forward has names for until this part has run.
    """

    name: str
    slot: str
    word: str
    config: EncoderConfig
    entering: Stream
    leaving: Stream
    taps: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()

    @property
    def layout(self) -> TokenLayout:
        """The layout of its input tokens."""
        return self.entering.layout

    @property
    def has_weights(self) -> bool:
        """Whether it has weights that a training step can change."""
        words: Mapping[str, Mapping[str, Any]] = {
            "pos_embeds": POS_EMBEDS,
            "transitions": TRANSITIONS,
            "necks": NECKS,
        }
        return self.slot not in words or bool(words[self.slot][self.word].has_weights)


@dataclass(frozen=True)
class LayerConfig:
    """One block.

    Attributes:
        index: its number in the encoder, from 0.
        stage_index: the number of its stage.
        stage: its stage, with the block's overrides.
        placement: where it attends.
        grid: the grid that enters.
        in_dim: the width in channels that enters.
        q_stride: the stride with which it pools its queries.
        extra_tokens: tokens that enter and are not on the grid.
        has_residual_block: whether a convolutional residual block comes after it.
        holds: as for a part.
        cut: the windows (down, across) that each image is cut into, if these enter as images of their own.
    """

    index: int
    stage_index: int
    stage: StageConfig
    placement: Placement
    grid: Size
    in_dim: int
    q_stride: int = 1
    extra_tokens: int = 0
    has_residual_block: bool = False
    holds: tuple[str, ...] = ()
    cut: Size = UNCUT

    @cached_property
    def name(self) -> str:
        """Its module name in the real stack."""
        return f"blocks.{self.index}"

    def numbered(self, index: int) -> LayerConfig:
        """A block that differs in nothing but its number in the encoder; it shares what was worked out for this one."""
        made = LayerConfig.__new__(LayerConfig)
        vars(made).update(vars(self), index=index, name=f"blocks.{index}")
        return made

    @property
    def has_weights(self) -> bool:
        """Whether it has weights that a training step can change: every block has."""
        return True

    @property
    def taps(self) -> tuple[str, ...]:
        """The names of earlier parts whose outputs it takes in addition to the stream."""
        return BLOCKS[self.stage.block].taps

    @property
    def layout(self) -> TokenLayout:
        """The layout of its input and output tokens."""
        return BLOCKS[self.stage.block].layout

    @cached_property
    def kind(self) -> tuple[Hashable, ...]:
        """Everything but its numbers. Layers with equal kinds cost the same on the same stream."""
        return _KIND(self)

    @property
    def is_global(self) -> bool:
        """Whether it attends over the whole grid."""
        return self.placement.is_global

    @property
    def is_windowed(self) -> bool:
        """Whether it attends in windows."""
        return self.placement.is_windowed

    @property
    def over_channels(self) -> bool:
        """Whether its channels attend to each other, over all tokens."""
        return self.placement.over_channels

    @property
    def spans_grid(self) -> bool:
        """Whether each token attends to all tokens: the layer is global, or one window covers the grid."""
        return each_is(1, self.windows.counts) and (self.is_global or self.is_windowed)

    @property
    def attends(self) -> str:
        """Where it attends, in words."""
        return self.placement.words

    @property
    def window_size(self) -> Size:
        """Tokens of its windows along each axis, as configs and reports write them: zeros if it has none."""
        return self.placement.reported_over(self.grid)

    @property
    def shift_size(self) -> Size:
        """The shift of its windows in tokens along each axis."""
        return self.placement.shift if self.is_shifted else (0,) * len(self.grid)

    @property
    def is_shifted(self) -> bool:
        """Whether its windows are shifted."""
        return self.placement.is_shifted

    @property
    def rel_pos_size(self) -> Size:
        """The tokens along each axis that its relative-position tables are made for."""
        return (self.is_global and self.stage.rel_pos_grid) or self.windows.size

    @property
    def out_grid(self) -> Size:
        """The tokens that leave it."""
        return tuple([side // self.q_stride for side in self.grid])

    @cached_property
    def windows(self) -> Windows:
        """Its windows over the grid; a layer without windows has one, the grid."""
        return self.placement.over(self.grid)

    @property
    def keys_size(self) -> Size:
        """The tokens along each axis of a window of keys: those of a window, unless keys come from a larger one."""
        return self.placement.keys_over(self.grid)

    @property
    def padded_grid(self) -> Size:
        """The tokens that its windows cover."""
        return self.windows.covered


_KIND = attrgetter(*(name for name in LayerConfig.__annotations__ if name not in {"index", "stage_index"}))

OF_PART = attrgetter(*(name for name in PartConfig.__annotations__ if name != "config"))
"""Read all of a part but the config of the encoder."""


Stretch = tuple[PartConfig | LayerConfig, ...]
"""A part, or blocks that run one after another and share their kind, the same object."""


def stretches_of(config: EncoderConfig) -> Iterator[Stretch]:
    """The parts and blocks of `config` in the order in which they run."""
    run = implementation_of(config)
    code = BLOCKS[config.stages[-1].block] if run is None else run.model
    holds = code.holds(config)
    stretches = _stretches_of(config, run.model.ending if run else "")
    return stretches if not holds else _holding(chain.from_iterable(stretches), holds)


def _holding(
    parts: Iterable[PartConfig | LayerConfig], holds: Mapping[str, tuple[str, ...]]
) -> Iterator[Stretch]:
    """The parts and blocks, some of which hold outputs of others; each alone."""
    for part in parts:
        yield (replace(part, holds=holds[part.name]) if part.name in holds else part,)


def _stretches_of(config: EncoderConfig, ending: str = "") -> Iterator[Stretch]:
    layout = PATCH_EMBEDS[config.patch_embed].makes
    stream = Stream(config.grid, config.stages[0].embed_dim, layout=layout)
    yield (PartConfig("patch_embed", "patch_embeds", config.patch_embed, config, stream, stream),)
    part: PartConfig | None
    for part in _before_blocks(config, stream):
        yield (part,)
        stream = part.leaving
    index, before = 0, None
    for number, stage in enumerate(config.stages):
        if stage.transition != NONE:
            leaving = replace(TRANSITIONS[stage.transition].leaving(config, stream), dim=stage.embed_dim)
            name = f"transitions.{number}"
            taps = _taps_of_transition(config, number)
            yield (PartConfig(name, "transitions", stage.transition, config, stream, leaving, taps),)
            stream = leaving
        is_fixed = all(type(side) is int for side in (*stream.grid, *_windows_of(stage)))
        stretches, stream = (_layers if is_fixed else _layers.__wrapped__)(
            stage, before, index, number, stream, version()
        )
        yield from stretches
        index += stage.depth
        before = stage
    if ending:
        yield (PartConfig(ending, "endings", ending, config, stream, stream),)
    for part in _after_blocks(config, stream):
        yield (part,)


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
) -> tuple[tuple[tuple[LayerConfig, ...], ...], Stream]:
    """The blocks of a stage, whose first has the number `first`, and what leaves the last; for a version of the words.

    Encoders that are compared share them: most differ in other stages, or in how they are run.
    """
    named, residual = frozenset(stage.global_attn_indexes), frozenset(stage.residual_block_indexes)
    same: dict[Placement, Placement] = {}
    kinds: dict[tuple[int, ...], tuple[Hashable, ...]] = {}
    alike: dict[tuple[int, ...], LayerConfig] = {}  # those that `stream` enters
    layers = []
    for position in range(stage.depth):
        index, own = first + position, stage.at(first + position)
        is_named, is_before_residual = index in named, index in residual
        turn = position % 2 if BLOCKS[own.block].place in BY_TURNS else position
        key = id(own), is_named, is_before_residual, turn
        if key in alike:
            layers.append(alike[key].numbered(index))
            continue
        entering = Entering(
            own, before, position, stream.grid, EVERYWHERE if is_named else own.placement, is_named
        )
        layer = _layer(entering, index, number, stream, same, has_residual_block=is_before_residual)
        vars(layer)["kind"] = kinds.setdefault(tuple(map(id, layer.kind)), layer.kind)
        layers.append(layer)
        alike[key] = layer
        leaving = layer.out_grid, stage.embed_dim, layer.layout
        if leaving != (stream.grid, stream.dim, stream.layout):
            grid, dim, layout = leaving
            stream = replace(stream, grid=grid, dim=dim, layout=layout)
            alike.clear()
    return tuple(tuple(each) for _, each in groupby(layers, key=_kind_as_object)), stream


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


def _kind_as_object(layer: LayerConfig) -> int:
    """Its kind, by identity: comparing kinds takes longer."""
    return id(layer.kind)
