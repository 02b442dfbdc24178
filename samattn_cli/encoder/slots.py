"""What a config's words name: blocks, patch embeddings, position embeddings, transitions between stages, necks.

Each is declared by a family, in `families/NAME/words.py`; `tape.py` and `stack.py` next to it hold the code. What is here
are the facts that a config is checked by and a plan is made of: which keys it reads, what it makes of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ..errors import Message
from .keys import Pair
from .layouts import GRID, TokenLayout
from .placement import EVERYWHERE, UNSHIFTED, Placement

if TYPE_CHECKING:
    from .model import EncoderConfig, StageConfig
    from .plan import LayerConfig

Problem = tuple[tuple[int | str, ...], Message]
"""The path of a key, and what is wrong there."""


def no_problems(_config: Any, _at: int) -> Iterator[Problem]:
    """Whatever is wrong with it is wrong with its keys."""
    return iter(())


@dataclass(frozen=True)
class Entering:
    """What a block is placed by: its stage (overrides applied), the one before, and what enters it.

    `placement` is what its stage says, which may name it global (`is_named_global`).
    """

    stage: StageConfig
    before: StageConfig | None
    position: int
    grid: Pair
    placement: Placement
    is_named_global: bool = False


@dataclass(frozen=True)
class Placing:
    """How a block attends: where, and by what stride its queries are pooled."""

    where: Placement = EVERYWHERE
    q_stride: int = 1


def as_configured(entering: Entering) -> Placing:
    """As the stage says; odd blocks are shifted where the stage says by how much."""
    return Placing(entering.placement.shifted(shift_of(entering)))


def shift_of(entering: Entering, unsaid: Pair = UNSHIFTED) -> Pair:
    """The shift of a block's windows: of every other block, by what its stage says, else by `unsaid`."""
    said = entering.stage.shift_size
    if entering.position % 2 == 0:
        return UNSHIFTED
    return unsaid if said is None else said


@dataclass(frozen=True)
class Sliding:
    """What slides over a grid, the same along both axes: a convolution, or tokens that are merged.

    Token n of what leaves is made of `kernel` tokens from n * `stride` - `before` on, as far as the grid has them, and
    there is one for each stride that begins on the grid. A kernel is no shorter than its stride: no token is skipped.
    """

    kernel: int
    stride: int = 1
    before: int = 0


def slid(grid: Pair, slides: tuple[Sliding, ...]) -> Pair:
    """The grid that leaves what slides over one, one after the other."""
    height, width = grid
    for sliding in slides:
        height, width = -(-height // sliding.stride), -(-width // sliding.stride)
    return height, width


def nothing_else(_layer: LayerConfig) -> str:
    """A layer mixes the tokens of its windows, and no others."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A kind of transformer block.

    Attributes:
        summary: what it is, in a line.
        keys: the keys of a stage that it reads beside those that every block reads.
        rel_pos: the relative positions that it can have.
        kernels: the attention kernels that are modelled.
        layout: how the tokens lie that it takes and makes.
        changes_width: whether the first of a stage may make another width of what enters.
        windows: whether it may have windows.
        place: where it attends.
        adapters: whether some of its weights adapt the others, and may be trained alone.
        pads: whether windows reach over padding beyond the grid; else the last ones are smaller.
        taps: the names of earlier parts whose outputs it takes beside the stream, as a part's.
        residual: what slides over the grid in the residual block that may stand behind it.
        mixes_else: of a layer, what it mixes beside the tokens of its windows and those that its residual block slides
            over, where that is no matter of rows and columns of one image; "": nothing.
        problems: what is wrong with a stage (by its number) of a config whose keys are sound.
    """

    summary: str
    keys: frozenset[str] = frozenset()
    rel_pos: tuple[str, ...] = ("none",)
    kernels: tuple[str, ...] = ("eager", "sdpa")
    layout: TokenLayout = GRID
    changes_width: bool = False
    windows: bool = True
    place: Callable[[Entering], Placing] = as_configured
    adapters: bool = False
    pads: bool = True
    taps: tuple[str, ...] = ()
    residual: tuple[Sliding, ...] = ()
    mixes_else: Callable[[LayerConfig], str] = nothing_else
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems


def patches(image: Pair, patch: int) -> Pair:
    """Non-overlapping patches; a rest smaller than one is dropped."""
    return image[0] // patch, image[1] // patch


def an_image(config: EncoderConfig) -> tuple[int, ...]:
    """(B, in_chans, height, width)."""
    return (config.run.batch_size, config.in_chans, *config.image_size)


@dataclass(frozen=True, kw_only=True)
class PatchEmbed:
    """A way from an image to tokens.

    Attributes:
        summary: what it is, in a line.
        grid: (image_size, patch_size) -> tokens (high, wide).
        input_shape: the shape of what the encoder is given.
        makes: how the tokens lie.
        problems: what is wrong with a config whose keys are sound.
    """

    summary: str
    grid: Callable[[Pair, int], Pair] = patches
    input_shape: Callable[[EncoderConfig], tuple[int, ...]] = an_image
    makes: TokenLayout = GRID
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems


@dataclass(frozen=True)
class Stream:
    """What flows from part to part: tokens of a grid, tokens beside it (class tokens), their width, how they lie."""

    grid: Pair
    dim: int
    extra_tokens: int = 0
    layout: TokenLayout = GRID


def unchanged(_config: EncoderConfig, stream: Stream) -> Stream:
    """The stream as it was."""
    return stream


def no_taps(_config: EncoderConfig) -> tuple[str, ...]:
    """Nothing but the stream."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that is no block: a position embedding, a neck.

    Attributes:
        summary: what it is, in a line.
        keys: the keys of the encoder that it reads beside those that every encoder has.
        takes: how the tokens lie that it takes.
        makes: how those lie that it makes, if otherwise.
        stream: (config, the stream that enters) -> the stream that leaves.
        taps: the names of earlier parts whose outputs it takes beside the stream: of a part with several outputs those
            after the first.
        problems: what is wrong with a config whose keys are sound.
    """

    summary: str
    keys: frozenset[str] = frozenset()
    takes: TokenLayout = GRID
    makes: TokenLayout | None = None
    stream: Callable[[EncoderConfig, Stream], Stream] = unchanged
    taps: Callable[[EncoderConfig], tuple[str, ...]] = no_taps
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems

    @property
    def made(self) -> TokenLayout:
        """How the tokens lie that leave it."""
        return self.makes or self.takes

    def leaving(self, config: EncoderConfig, entering: Stream) -> Stream:
        """The stream that leaves it."""
        return replace(self.stream(config, entering), layout=self.made)


@dataclass(frozen=True, kw_only=True)
class Transition(Part):
    """What leads into a stage from the one before; its `stream` is then given that stage's width.

    Attributes:
        slides: what slides over the grid in it, one after the other; None: tokens are put elsewhere, or none is said.
    """

    slides: tuple[Sliding, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a family declares, by the words of the config."""

    blocks: dict[str, Block] = field(default_factory=dict)
    patch_embeds: dict[str, PatchEmbed] = field(default_factory=dict)
    pos_embeds: dict[str, Part] = field(default_factory=dict)
    transitions: dict[str, Transition] = field(default_factory=dict)
    necks: dict[str, Part] = field(default_factory=dict)


def ends_of_stages(config: EncoderConfig) -> tuple[int, ...]:
    """The index of the last block of each stage; it needs no plan, which taps are a part of."""
    return tuple(after - 1 for after in accumulate(stage.depth for stage in config.stages))


def transitions_called(word: str, config: EncoderConfig) -> tuple[str, ...]:
    """The names of the transitions of a kind, for those who tap them."""
    return tuple(f"transitions.{n}" for n, stage in enumerate(config.stages) if stage.transition == word)


def side_or_sides(size: tuple[int, ...]) -> str:
    """A size as a config says it: one number where both sides are the same."""
    return str(size[0] if size[0] == size[1] else list(size))


def a_patch_of_pretraining(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The images of pretraining have a patch."""
    size, patch = config.pretrain_image_size, config.patch_size
    if size is not None and min(config.pretrain_grid) < 1:
        message = f"pretrain_image_size {side_or_sides(size)} is smaller than patch_size {patch}: use at least {patch}"
        yield ("pretrain_image_size",), Message("image-smaller-than-patch", message)
