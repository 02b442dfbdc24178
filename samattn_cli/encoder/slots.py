"""What the words of a config name: blocks, patch embeddings, position embeddings, transitions between stages, necks.

A family declares them in `families/NAME/words.py`; `tape.py` and `stack.py` next to it have the code. A declaration has
the facts that checks and plans need: which keys it uses, and how it changes the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Message
from ..records import dataclass, replace
from ..units import format_size, is_square
from .keys import Size
from .layouts import GRID, TokenLayout
from .placement import EVERYWHERE, UNCUT, UNSHIFTED, Placement

if TYPE_CHECKING:
    from .model import EncoderConfig, StageConfig
    from .plan import LayerConfig

Problem = tuple[tuple[int | str, ...], Message]
"""The path of a key, and what is wrong there."""


OF_IMAGES = (2,)
"""The number of axes of the grids of images."""


def first_output(part: str) -> str:
    """The name by which `holds` of an implementation names the first output of a part that has several."""
    return f"{part}:0"


def nothing_held(_config: Any) -> Mapping[str, tuple[str, ...]]:
    """Default: each part frees its input."""
    return {}


def no_problems_of_encoder(_config: Any) -> Iterator[Problem]:
    """Default: it runs all of them."""
    return iter(())


def no_problems(_config: Any, _at: int) -> Iterator[Problem]:
    """Default: no checks beyond those of the keys."""
    return iter(())


def any_size(_config: Any) -> str:
    """Default: nothing to add to what the shapes of its weights say."""
    return ""


@dataclass(frozen=True)
class Entering:
    """What decides where a block attends.

    Attributes:
        stage: its stage, with the block's overrides.
        before: the stage before; None in the first.
        position: its number within the stage, from 0.
        grid: the grid (high, wide) that enters it.
        placement: where its stage says that it attends.
        is_named_global: whether `global_attn_indexes` of its stage names it.
    """

    stage: StageConfig
    before: StageConfig | None
    position: int
    grid: Size
    placement: Placement
    is_named_global: bool = False


@dataclass(frozen=True)
class Placing:
    """Where a block attends, and the stride with which it pools its queries."""

    where: Placement = EVERYWHERE
    q_stride: int = 1


BY_TURNS: set[Callable[[Entering], Placing]] = set()
"""Functions that place blocks, and use the position of a block only to tell even ones from odd ones."""

Placer = TypeVar("Placer", bound=Callable[[Entering], Placing])


def by_turns(place: Placer) -> Placer:
    """Declare that `place` is one of `BY_TURNS`: it is then called once for all blocks that are alike."""
    BY_TURNS.add(place)
    return place


@by_turns
def as_configured(entering: Entering) -> Placing:
    """Where the stage says; windows of odd blocks are shifted if the stage has a shift."""
    return Placing(entering.placement.shifted(shift_of(entering)))


def shift_of(entering: Entering, default: Size = UNSHIFTED) -> Size:
    """The shift of a block's windows: for every other block that of its stage, or `default` if the stage has none."""
    shift = entering.stage.shift_size
    if entering.position % 2 == 0:
        return (0,) * len(entering.grid)
    return default if shift is None else shift


@dataclass(frozen=True)
class Sliding:
    """A window that slides over a grid in the same way along its axes: a convolution, or tokens that are merged.

    Output token n depends on `kernel` input tokens from n * `stride` - `before` on, as far as they are on the grid. There
    is an output token for each stride that begins on the grid. The kernel is at least as long as the stride, so that no
    token is skipped. It slides along all axes, or along the last ones of a number: those after the frames of a video.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    last_axes: int = 0

    def by_axis(self, axes: int) -> tuple[Sliding, ...]:
        """How it slides along each axis of a grid with so many of them."""
        stay = axes - self.last_axes if self.last_axes else 0
        return (Sliding(1),) * stay + (self,) * (axes - stay)


def slid(grid: Size, slides: tuple[Sliding, ...]) -> Size:
    """The grid after each of `slides` in turn."""
    for sliding in slides:
        by_axis = zip(grid, sliding.by_axis(len(grid)), strict=True)
        grid = tuple([-(-side // along.stride) for side, along in by_axis])
    return grid


def nothing_else(_layer: LayerConfig) -> str:
    """Default: a layer mixes only the tokens of its windows."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A kind of transformer block.

    Attributes:
        summary: what it is, in a line.
        keys: the keys of a stage that it uses, in addition to those that every block uses.
        rel_pos: the relative positions that it can have.
        kernels: the attention kernels that are modelled.
        layout: the layout of its input and output tokens.
        changes_width: whether the first block of a stage may change the width of the stream.
        windows: whether it may have windows.
        place: where it attends.
        adapters: whether some of its weights adapt the others and may be trained alone.
        pads: whether windows extend over padding beyond the grid; otherwise the last ones are smaller.
        taps: the names of earlier parts whose outputs it takes in addition to the stream.
        residual: the convolutions of the residual block that may come after it.
        before: the convolutions of its own that come before its attention.
        after: those that come after its attention.
        mixes_else: for a layer, a sentence on what it mixes other than the tokens of its windows and of its residual
            block, if that does not follow from rows and columns of one image; "" if nothing.
        other_sizes: a sentence on what its weights need at another image size, besides the new shapes that the Tape shows;
            "" if nothing.
        axes: the numbers of axes of the grids that it takes: 2 of images, 3 of videos and volumes.
        has_modes: whether its code differs in training mode (`module.train()`), as that of batch norms does.
        pools: whether each token depends on a mean over all tokens, as in squeeze and excitation.
        holds: parts after which the forward of the authors' code frees the outputs of earlier parts that it has names for;
            as for an `Implementation`. That of the last stage's block is used.
        problems: what is wrong with a stage (by its number) of a config whose keys are valid.
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
    before: tuple[Sliding, ...] = ()
    after: tuple[Sliding, ...] = ()
    mixes_else: Callable[[LayerConfig], str] = nothing_else
    other_sizes: Callable[[EncoderConfig], str] = any_size
    axes: tuple[int, ...] = OF_IMAGES
    has_modes: bool = False
    pools: bool = False
    holds: Callable[[EncoderConfig], Mapping[str, tuple[str, ...]]] = nothing_held
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems


def patches(image: Size, patch: int | Size) -> Size:
    """The grid of non-overlapping patches; a remainder smaller than a patch is dropped."""
    return tuple([side // along for side, along in zip(image, sides_of(patch, len(image)), strict=True)])


def sides_of(patch: int | Size, axes: int) -> Size:
    """The sides of a patch along each axis, from one number or as many as there are axes."""
    return patch if isinstance(patch, tuple) else (patch,) * axes


def unpadded(config: EncoderConfig) -> Size:
    """Default: images are not padded."""
    return (1,) * len(config.image_size)


def whole_patches(config: EncoderConfig) -> Size:
    """Videos and volumes are padded to whole patches; of images, the rest is dropped."""
    return unpadded(config) if len(config.image_size) in OF_IMAGES else config.patch


def an_image(config: EncoderConfig) -> tuple[int, ...]:
    """The shape of a batch of images, (B, in_chans, height, width), or of videos, (B, in_chans, frames, height, width)."""
    return (config.run.batch_size, config.in_chans, *config.image_size)


@dataclass(frozen=True, kw_only=True)
class PatchEmbed:
    """A way from an image to tokens.

    Attributes:
        summary: what it is, in a line.
        grid: (image_size, patch_size) -> tokens along each axis.
        multiple: the pixels along each axis to a multiple of which it pads an image.
        input_shape: the shape of the encoder's input.
        makes: the layout of the tokens.
        other_sizes: as of a `Block`.
        axes: as of a `Block`.
        has_modes: whether its code differs in training mode.
        problems: what is wrong with a config whose keys are valid.
    """

    summary: str
    grid: Callable[[Size, Any], Size] = patches
    multiple: Callable[[EncoderConfig], Size] = unpadded
    input_shape: Callable[[EncoderConfig], tuple[int, ...]] = an_image
    makes: TokenLayout = GRID
    other_sizes: Callable[[EncoderConfig], str] = any_size
    axes: tuple[int, ...] = OF_IMAGES
    has_modes: bool = False
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems


@dataclass(frozen=True)
class Stream:
    """The tokens that flow from part to part.

    Attributes:
        grid: tokens along each axis: (high, wide) or (deep, high, wide).
        dim: the width in channels.
        extra_tokens: tokens that are not on the grid, such as a class token.
        layout: how the tokens lie in memory.
        cut: the windows (down, across) that each image is cut into, if these lie as images of their own.
    """

    grid: Size
    dim: int
    extra_tokens: int = 0
    layout: TokenLayout = GRID
    cut: Size = UNCUT


def unchanged(_config: EncoderConfig, stream: Stream) -> Stream:
    """Default: the stream without a change."""
    return stream


def no_taps(_config: EncoderConfig) -> tuple[str, ...]:
    """Default: no outputs of earlier parts."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that is not a block: a position embedding or a neck.

    Attributes:
        summary: what it is, in a line.
        keys: the keys of the encoder that it uses, in addition to those that every encoder has.
        takes: the layout of its input tokens.
        makes: the layout of its output tokens, if it differs.
        stream: (config, the stream that enters) -> the stream that leaves.
        taps: the names of earlier parts whose outputs it takes in addition to the stream; of a part with several outputs,
            those after the first.
        has_weights: whether it has weights that a training step can change.
        other_sizes: as of a `Block`.
        axes: as of a `Block`.
        has_modes: whether its code differs in training mode.
        unread: the names of the last blocks whose outputs it does not read, so that nothing does: they get no gradient.
        problems: what is wrong with a config whose keys are valid.
    """

    summary: str
    keys: frozenset[str] = frozenset()
    takes: TokenLayout = GRID
    makes: TokenLayout | None = None
    stream: Callable[[EncoderConfig, Stream], Stream] = unchanged
    taps: Callable[[EncoderConfig], tuple[str, ...]] = no_taps
    has_weights: bool = True
    other_sizes: Callable[[EncoderConfig], str] = any_size
    axes: tuple[int, ...] = OF_IMAGES
    has_modes: bool = False
    unread: Callable[[EncoderConfig], tuple[str, ...]] = no_taps
    problems: Callable[[EncoderConfig, int], Iterator[Problem]] = no_problems

    @property
    def made(self) -> TokenLayout:
        """The layout of its output tokens."""
        return self.makes or self.takes

    def at_other_sizes(self, config: EncoderConfig) -> str:
        """What its weights need at another image size; by default, positions of pretrain_image_size are kept."""
        keeps = self.other_sizes is any_size and PRETRAINED in self.keys
        return (positions_are_kept if keeps else self.other_sizes)(config)

    def leaving(self, config: EncoderConfig, entering: Stream) -> Stream:
        """The stream that leaves it."""
        return replace(self.stream(config, entering), layout=self.made)


@dataclass(frozen=True, kw_only=True)
class Transition(Part):
    """A part between two stages. Its stream gets the width of the stage after it.

    Attributes:
        slides: the convolutions or merges in it, in order; None if it moves tokens in another way, or does not declare it.
        skips: whether it also takes what entered the stages before it, back to the last transition, after its other taps.
    """

    slides: tuple[Sliding, ...] | None = None
    skips: bool = False


Wanted = tuple[tuple[int | str, ...], bool, str]
"""The place of a key, whether it is as a model has it, and what the model has."""


def cannot_run(model: str, wanted: Iterable[Wanted]) -> Iterator[Problem]:
    """The keys that are not as a model of a library has them."""
    for place, is_so, what in wanted:
        if not is_so:
            message = f"{model} runs only with {what}: use that, or implementation: reference"
            yield place, Message("implementation-cannot-run", message)


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A model of a library that runs encoders of a family with the same weights, and allocates other tensors.

    What differs is in the family's `LIBRARY_tape.py`; the model itself, in parts, is in `LIBRARY_stack.py`.

    Attributes:
        library: the word of the key `implementation`.
        model: the name of its class.
        versions: the versions of the library in which it was seen.
        blocks: the kinds of block that it has.
        necks: the necks that it has.
        pos_embeds: the position embeddings by which it differs from other models of the library; () if any will do.
        kernels: the attention kernels that it has, its default first.
        difference: what differs from the reference, as a sentence without a subject: "copies the relative positions".
        holds: the parts after which it frees the outputs of earlier parts that its forward still has names for:
            ``{"norm": ("pos_embed",)}``. Of a part with several outputs, those after the first; see `first_output`.
        checkpoints: of what its gradient checkpointing keeps only the input: "blocks", "stages", which a transition ends, or
            both, one in the other; or "later_stages", which a transition begins.
        ending: the name of a step that its forward has after the last block, such as a copy; "" if it has none. Its code
            is in ``ENDINGS``.
        problems: what the model cannot run in a config whose blocks and neck it has.
    """

    library: str
    model: str
    versions: tuple[str, ...]
    blocks: tuple[str, ...]
    necks: tuple[str, ...]
    kernels: tuple[str, ...]
    difference: str
    pos_embeds: tuple[str, ...] = ()
    holds: Callable[[EncoderConfig], Mapping[str, tuple[str, ...]]] = nothing_held
    checkpoints: tuple[str, ...] = ("blocks",)
    ending: str = ""
    problems: Callable[[EncoderConfig], Iterator[Problem]] = no_problems_of_encoder


@dataclass(frozen=True, kw_only=True)
class Family:
    """The declarations of a family, by the words of the config, and the libraries that run it in other ways."""

    blocks: dict[str, Block] = field(default_factory=dict)
    patch_embeds: dict[str, PatchEmbed] = field(default_factory=dict)
    pos_embeds: dict[str, Part] = field(default_factory=dict)
    transitions: dict[str, Transition] = field(default_factory=dict)
    necks: dict[str, Part] = field(default_factory=dict)
    implementations: tuple[Implementation, ...] = ()


def ends_of_stages(config: EncoderConfig) -> tuple[int, ...]:
    """The index of the last block of each stage. It does not need the plan, because the plan needs it for taps."""
    return tuple(after - 1 for after in accumulate(stage.depth for stage in config.stages))


def entering_stage(config: EncoderConfig, number: int) -> str:
    """The name of the tokens that enter a stage, for parts that take them. It does not need the plan either."""
    if config.stages[number].transition != "none":
        return first_output(f"transitions.{number}")
    if number:
        return f"blocks.{ends_of_stages(config)[number - 1]}"
    if config.pre_norm:
        return "pre_norm"
    return first_output("patch_embed" if config.pos_embed == "none" else "pos_embed")


def begin_of_group(config: EncoderConfig, end: int) -> int:
    """The first stage of the group that ends before stage `end`: a stage without a transition belongs to the group before it."""
    return next((number for number in range(end - 1, 0, -1) if config.stages[number].transition != "none"), 0)


def transitions_called(word: str, config: EncoderConfig) -> tuple[str, ...]:
    """The names of the transitions of a kind, for parts that take their outputs."""
    return tuple(f"transitions.{n}" for n, stage in enumerate(config.stages) if stage.transition == word)


PRETRAINED = "pretrain_image_size"


def side_or_sides(size: tuple[int, ...]) -> str:
    """A size as a config has it: one number for a square, otherwise a list."""
    return str(size[0] if is_square(size) else list(size))


def positions_are_kept(config: EncoderConfig) -> str:
    """Absolute positions of pretrain_image_size: a checkpoint's, which each forward resizes to the grid, or others."""
    size = config.pretrain_image_size
    if size is not None:
        return f"Its absolute positions, made for {format_size(size)}, are resized in each forward."
    own = side_or_sides(config.image_size)
    return f"With pretrain_image_size: {own} its absolute positions are kept, and resized in each forward."


def a_patch_of_pretraining(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """The pretraining images must have at least one patch."""
    size, patch = config.pretrain_image_size, config.patch_size
    if size is not None and min(config.pretrain_grid) < 1:
        message = f"pretrain_image_size {side_or_sides(size)} is smaller than patch_size {patch}: use at least {patch}"
        yield ("pretrain_image_size",), Message("image-smaller-than-patch", message)
