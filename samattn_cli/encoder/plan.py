"""The plan of an encoder: its parts and blocks in order, each with what enters it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..records import dataclass
from .keys import Size
from .layouts import TokenLayout
from .placement import UNCUT, Placement, Windows, each_is
from .registry import BLOCKS, NECKS, POS_EMBEDS, TRANSITIONS
from .slots import Stream

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


def block_name(index: int) -> str:
    """The name of a block's module in the real stack."""
    return f"blocks.{index}"


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
        return block_name(self.index)

    def numbered(self, index: int) -> LayerConfig:
        """A block that differs in nothing but its number in the encoder; it shares what was worked out for this one."""
        made = LayerConfig.__new__(LayerConfig)
        vars(made).update(vars(self), index=index, name=block_name(index))
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


@dataclass(frozen=True)
class Stretch:
    """A part, or blocks of one kind that run one after another; kinds are compared as objects.

    Attributes:
        first: the part, or the first block.
        number: how many they are.
    """

    first: PartConfig | LayerConfig
    number: int = 1

    @cached_property
    def parts(self) -> tuple[PartConfig | LayerConfig, ...]:
        """The part or the blocks."""
        return tuple(map(self._made, range(self.number)))

    def at(self, number: int) -> PartConfig | LayerConfig:
        """One of them."""
        return self.parts[number] if "parts" in vars(self) else self._made(number)

    def _made(self, number: int) -> PartConfig | LayerConfig:
        first = self.first
        return first.numbered(first.index + number) if number and isinstance(first, LayerConfig) else first
