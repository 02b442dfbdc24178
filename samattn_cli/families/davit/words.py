"""DaViT: blocks that attend in windows and blocks that attend over channels, in turn; convolutions encode positions.

Sources: DaViT (arXiv:2204.03645) and dingmyu/davit; Florence-2 (arXiv:2311.06242); timm, models/davit.py; transformers,
models/florence2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...encoder.keys import Pair
from ...encoder.placement import OVER_CHANNELS
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    PatchEmbed,
    Placing,
    Problem,
    Sliding,
    Stream,
    Transition,
    Wanted,
    by_turns,
    cannot_run,
    ends_of_stages,
    slid,
)
from ...errors import Message
from ...records import replace

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

EMBEDDINGS = {
    "conv_embed": (Sliding(kernel=3, stride=2, before=1),),
    "conv_embed_2x2": (Sliding(kernel=2, stride=2),),
}
"""The transitions between stages, and the convolution in each."""

STRIDE = 4
"""The only stride that timm's stem has."""

POSITIONS = (Sliding(kernel=3, before=1),)
"""The depthwise convolution that encodes positions; a block has two, one before its attention and one after it."""


@by_turns
def alternating(entering: Entering) -> Placing:
    """The first block of a stage, and every other after it, attends where the stage says; the others attend over channels."""
    return Placing(OVER_CHANNELS if is_channel(entering.position) else entering.placement)


def is_channel(position: int) -> bool:
    """Whether the block at a position of its stage attends over channels."""
    return position % 2 == 1


def patches(image: Pair, patch: int) -> Pair:
    """The grid (high, wide): a patch for each stride that begins in the image, which is padded by stride - 1 on each side."""
    return -(-image[0] // patch), -(-image[1] // patch)


def embedded(_config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with half as many tokens high and wide, rounded up."""
    return replace(stream, grid=slid(stream.grid, EMBEDDINGS["conv_embed"]))


def channel_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """A block that attends over channels has no place to attend at, so none may be set for it."""
    stage, first = config.stages[number], sum(stage.depth for stage in config.stages[:number])
    for index in stage.global_attn_indexes:
        if is_channel(index - first):
            yield ("stages", number, "global_attn_indexes"), _not_spatial(index, "leave it out")
    for at, override in enumerate(stage.overrides):
        for key in ("window_size", "num_windows_side"):
            named = [index for index in override.blocks if is_channel(index - first)]
            if named and getattr(override, key) is not None:
                yield (
                    ("stages", number, "overrides", at, key),
                    _not_spatial(named[0], f"set {key} for others"),
                )


def _not_spatial(index: int, advice: str) -> Message:
    return Message(
        "block-over-channels",
        f"block {index} attends over channels, so it is neither windowed nor global: {advice}",
    )


def blocks_of(config: EncoderConfig) -> Iterator[tuple[int, int, int]]:
    """The stage, the position in it, and the index of each block; it does not need the plan."""
    places = (
        (number, position) for number, stage in enumerate(config.stages) for position in range(stage.depth)
    )
    for index, (number, position) in enumerate(places):
        yield number, position, index


def held_by_layers(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """A layer of transformers is two blocks; its caller holds what enters the first until the second has run."""
    held: dict[str, tuple[str, ...]] = {}
    for number, position, index in blocks_of(config):
        if is_channel(position):
            starts = f"transitions.{number}" if number else "patch_embed"
            held[f"blocks.{index}"] = (starts if position == 1 else f"blocks.{index - 2}",)
    return held


def held_by_sequences(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """What timm holds besides: the stem until the end, and for a stage what enters it and what enters its blocks."""
    held, ends = held_by_layers(config), ends_of_stages(config)
    for number in range(1, len(ends)):
        end = f"blocks.{ends[number]}"
        held[end] = (f"blocks.{ends[number - 1]}", f"transitions.{number}", *held[end])
    last = f"blocks.{ends[-1]}"
    held[last] = ("patch_embed", *held[last])
    return {part: tuple(dict.fromkeys(names)) for part, names in held.items()}


EMBEDDING = {"davit": "conv_embed_2x2", "florence2": "conv_embed"}
"""The transition between stages of each kind of block."""


def of_libraries(config: EncoderConfig) -> Iterator[Wanted]:
    """What the models of transformers and timm have: whole pairs of blocks, one square window for all stages."""
    first, side = config.stages[0], config.stages[0].window_size[0]
    yield ("patch_embed",), config.patch_embed == "overlapping_norm", "patch_embed overlapping_norm"
    yield ("pos_embed",), config.pos_embed == "none", "pos_embed none"
    yield ("pre_norm",), not config.pre_norm, "no norm before the blocks"
    yield ("norm",), not config.norm, "no norm after the blocks"
    for number, stage in enumerate(config.stages):
        at = ("stages", number)
        yield (
            (*at, "depth"),
            stage.depth % 2 == 0,
            "an even depth, as each layer is a spatial and a channel block",
        )
        yield (*at, "window_size"), stage.window_size == (side, side), "one window for all stages, a square"
        yield (*at, "window_size"), side > 0, "windows"
        yield (*at, "num_windows_side"), stage.num_windows_side is None, "window_size"
        yield (*at, "global_attn_indexes"), not stage.global_attn_indexes, "no global blocks"
        yield (*at, "mlp_ratio"), stage.mlp_ratio == first.mlp_ratio, "one mlp_ratio"
        yield (*at, "qkv_bias"), stage.qkv_bias == first.qkv_bias, "one qkv_bias"
        wanted = EMBEDDING[first.block] if number else "none"
        yield (*at, "transition"), stage.transition == wanted, f"transition {wanted} in this stage"


def heads_of(config: EncoderConfig, number: int, *, channel: bool) -> int:
    """The heads of a stage's first spatial or channel block; of channel blocks they are called groups."""
    stage = config.stages[number]
    at = [
        index
        for stage, position, index in blocks_of(config)
        if stage == number and is_channel(position) == channel
    ]
    return stage.at(at[0]).num_heads if at else stage.num_heads


def florence2_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What Florence2VisionBackbone cannot run; the heads of a stage's channel blocks may differ from its others'."""
    wanted = list(of_libraries(config))
    for number, position, index in blocks_of(config):
        stage = config.stages[number]
        heads = heads_of(config, number, channel=is_channel(position))
        is_so = stage.at(index) == replace(stage.at(index), num_heads=heads, **_of_stage(config, number))
        wanted.append(
            (
                ("stages", number, "overrides"),
                is_so,
                "blocks that differ in heads, and from channel block to spatial alone",
            )
        )
    wanted.append((("run", "checkpointing"), not config.run.checkpointing, "no gradient checkpointing"))
    yield from dict.fromkeys(cannot_run("Florence2VisionBackbone of transformers", wanted))


def _of_stage(config: EncoderConfig, number: int) -> dict[str, Any]:
    stage = config.stages[number]
    return {key: getattr(stage, key) for key in ("window_size", "num_windows_side", "mlp_ratio")}


def davit_of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """What DaVit cannot run."""
    wanted = list(of_libraries(config))
    for number, stage in enumerate(config.stages):
        wanted.append(
            (("stages", number, "overrides"), not stage.overrides, "as many heads in each block of a stage")
        )
    wanted.append((("patch_size",), config.patch_size == STRIDE, f"patch_size {STRIDE}"))
    whole = "run.checkpointing false, as its checkpoints are of two blocks each"
    wanted.append((("run", "checkpointing"), not config.run.checkpointing, whole))
    yield from cannot_run("DaVit of timm", wanted)


def block(what: str) -> Block:
    """A kind of block, of which `what` says what channels are compared by."""
    return Block(
        summary=f"{what} between depthwise convolutions: the first of a stage attends in windows, the next over channels, in turn.",
        kernels=("eager", "sdpa"),
        place=alternating,
        before=POSITIONS,
        after=POSITIONS,
        problems=channel_problems,
    )


FAMILY = Family(
    blocks={
        "davit": block("DaViT's block"),
        "florence2": block("Florence-2's block"),
    },
    patch_embeds={
        "overlapping_norm": PatchEmbed(
            summary="A convolution of side 2 * patch_size - 1, then a LayerNorm: 7x7 at stride 4, as in DaViT.",
            grid=patches,
        )
    },
    transitions={
        "conv_embed": Transition(
            summary="Florence-2's: a LayerNorm, then a convolution of 3x3 at stride 2.",
            stream=embedded,
            slides=EMBEDDINGS["conv_embed"],
        ),
        "conv_embed_2x2": Transition(
            summary="DaViT's: a LayerNorm, then a convolution of 2x2 at stride 2; an odd side is padded.",
            stream=embedded,
            slides=EMBEDDINGS["conv_embed_2x2"],
        ),
    },
    implementations=(
        Implementation(
            library="transformers",
            model="Florence2VisionBackbone",
            versions=("5.23", "5.24"),
            blocks=("florence2",),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="holds what enters a norm's attention, copies channels twice on their way out of attention, runs channel "
            "attention by sdpa too, and holds what enters a spatial block until the channel block after it has run",
            holds=held_by_layers,
            checkpoints=(),
            problems=florence2_of_transformers,
        ),
        Implementation(
            library="timm",
            model="DaVit",
            versions=("1.0.31",),
            blocks=("davit", "florence2"),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="copies the image, and holds what enters a stage, what enters its blocks and what enters a spatial block "
            "until the end of each",
            holds=held_by_sequences,
            checkpoints=(),
            problems=davit_of_timm,
        ),
    ),
)
