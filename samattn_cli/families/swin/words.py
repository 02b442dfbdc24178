"""Swin Transformer: windows, shifted in every other block, on four grids, each half the size of the one before.

Source: arXiv:2103.14030 and microsoft/Swin-Transformer, models/swin_transformer.py. Over videos: Video Swin Transformer,
arXiv:2106.13230, SwinTransformer/Video-Swin-Transformer, mmaction/models/backbones/swin_transformer.py.
"""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from ...encoder.keys import Size
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    Part,
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
    entering_stage,
    shift_of,
    slid,
    whole_patches,
)
from ...errors import Message
from ...records import replace

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.plan import LayerConfig, PartConfig


@by_turns
def clamped(entering: Entering) -> Placing:
    """The window if the grid is larger; otherwise a square of the grid's shorter side, without a shift.

    A block whose window covers the grid is global. Source: SwinTransformerBlock, which clamps the window to
    ``min(input_resolution)`` before it makes the table of relative positions. In videos, see `clamped_by_axis`.
    """
    placement, grid = entering.placement, entering.grid
    if placement.is_global:
        return Placing()
    if len(grid) != len(SQUARE):
        return clamped_by_axis(entering)
    window = placement.over(grid).size
    if all(side < length for side, length in zip(window, grid, strict=True)):
        return Placing(placement.shifted(shift_of(entering, (window[0] // 2, window[1] // 2))))
    window = (min(window[0], *grid), min(window[1], *grid))
    return Placing() if window == grid else Placing(replace(placement, size=window))


def clamped_by_axis(entering: Entering) -> Placing:
    """The window, along each axis as long as the grid at most; there it is not shifted.

    A window that covers the grid stays a window: its table of relative positions is for the whole window, whatever the
    grid. Source: Video Swin, get_window_size.
    """
    window = entering.placement.over(entering.grid).size
    shift = shift_of(entering, tuple([side // 2 for side in window]))
    sides = [
        (min(side, whole), 0 if whole <= side else by)
        for side, whole, by in zip(window, entering.grid, shift, strict=True)
    ]
    size, by = zip(*sides, strict=True)
    return Placing(replace(entering.placement, size=size).shifted(by))


def table_window(layer: "LayerConfig") -> Size:
    """The window that the table of relative positions is for: in videos that of the stage, also on a smaller grid."""
    in_image = len(layer.grid) == len(SQUARE)
    return layer.windows.size if in_image or layer.is_global else layer.stage.window_size


SQUARE = (2, 2)
"""Tokens along height and width that become one; those along frames do not."""

MERGING = (Sliding(kernel=2, stride=2, last_axes=len(SQUARE)),)
"""2x2 tokens become one."""

MERGING_3D = (Sliding(kernel=2, stride=2),)
"""2x2x2 tokens become one."""

OF_VIDEOS = (2, 3)
"""Axes of the grids of images and of videos."""

ENDING = "last_stage"
"""The end of transformers' last stage, which has no transition after it."""

MERGINGS = {"swin": "patch_merging", "swinv2": "patch_merging_v2"}
"""The transition between stages of each kind of block."""


def merged(_config: "EncoderConfig", stream: Stream) -> Stream:
    """The stream with half as many tokens high and wide, and as many frames; an odd side is padded."""
    return replace(stream, grid=slid(stream.grid, MERGING))


def merged_3d(_config: "EncoderConfig", stream: Stream) -> Stream:
    """The stream with half as many tokens along each axis; an odd side is padded."""
    return replace(stream, grid=slid(stream.grid, MERGING_3D))


def merged_at_the_end(config: "EncoderConfig", stream: Stream) -> Stream:
    """The same with twice the width: the last map of Swin UNETR's encoder."""
    return replace(merged_3d(config, stream), dim=2 * stream.dim)


def square_of(part: "PartConfig") -> Size:
    """The tokens along each axis that a merging makes one: 2x2, frames aside, or 2x2x2."""
    slides = MERGING_3D if part.word == "patch_merging_3d" else MERGING
    return tuple([along.stride for along in slides[0].by_axis(len(part.entering.grid))])


def corners(axes: int) -> list[tuple[int, ...]]:
    """The places of the tokens that become one, in the order of Swin's code: (0, 0), (1, 0), (0, 1), (1, 1)."""
    return sorted(product((0, 1), repeat=axes), key=lambda at: (sum(at), [-each for each in at]))


def merging_of_neck(part: "PartConfig") -> "PartConfig":
    """The merging after the last stage, in Swin UNETR's encoder."""
    return replace(part, word="patch_merging_3d")


def entering_stages(config: "EncoderConfig") -> tuple[str, ...]:
    """The names of the tokens that enter each stage."""
    return tuple(entering_stage(config, number) for number in range(len(config.stages)))


def no_norm_before(config: "EncoderConfig", _: int) -> Iterator[Problem]:
    """Its norms are those of its maps."""
    if config.norm:
        message = f"neck {config.neck} norms its maps: leave out norm"
        yield ("norm",), Message("norm-before-norm", message)


def norm_stages(config: "EncoderConfig") -> tuple[int, ...]:
    """The stages whose outputs neck stage_norms or swin_backbone returns."""
    return config.out_indices or tuple(range(len(config.stages)))


def is_backbone(config: "EncoderConfig") -> bool:
    """Whether transformers' SwinBackbone runs it, which copies what enters and leaves its stages."""
    return config.neck == "swin_backbone"


def copied_stage_ends(config: "EncoderConfig") -> tuple[str, ...]:
    """What SwinBackbone reads in transformers: the copies that its stages return; in other code as `normed_stage_ends`."""
    if config.implementation != "transformers":
        return normed_stage_ends(config)
    last = len(config.stages) - 1
    return tuple(ENDING if stage == last else f"transitions.{stage + 1}" for stage in norm_stages(config))


def held_by_backbone(config: "EncoderConfig") -> dict[str, tuple[str, ...]]:
    """What SwinBackbone has until it returns: all that enters and leaves its stages, and the copies; see `held_by_stages`."""
    ends = (*(f"transitions.{number}" for number in range(1, len(config.stages))), ENDING)
    own = {part: _probabilities(names) for part, names in held_by_stages(config).items()}
    stem = "patch_embed" if config.pos_embed == "none" else "pos_embed"
    read = copied_stage_ends(config)
    held = {part: names for part, names in own.items() if names}
    return held | {"neck": (stem, *(end for end in ends if end not in read))}


def _probabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith("blocks."))


def normed_stage_ends(config: "EncoderConfig") -> tuple[str, ...]:
    """The names of the last blocks of those stages, except the last stage, whose output is the stream itself."""
    ends = ends_of_stages(config)
    return tuple(f"blocks.{ends[stage]}" for stage in norm_stages(config)[:-1] if stage < len(ends))


def norms_problems(config: "EncoderConfig", _: int) -> Iterator[Problem]:
    """The last stage is one of them, and no norm is before its own."""
    last = len(config.stages) - 1
    if norm_stages(config)[-1] != last:
        message = f"out_indices must end with {last}, the last stage, and not with {norm_stages(config)[-1]}"
        yield ("out_indices",), Message("no-such-stage", message)
    if config.norm:
        message = f"neck {config.neck} norms the output of the last stage: leave out norm"
        yield ("norm",), Message("norm-before-norm", message)


def held_by_stages(config: "EncoderConfig") -> dict[str, tuple[str, ...]]:
    """What the forward of transformers' encoder has names for: by the part after which it is freed.

    The model names the embeddings; the encoder names what enters a stage, the copy that the stage before returned, and its
    last probabilities; a stage names the probabilities of its last block.
    """
    is_eager = config.run.attention == "eager"
    ends = [f"transitions.{number}" for number in range(1, len(config.stages))] + [ENDING]
    held: dict[str, tuple[str, ...]] = {
        "norm": ("patch_embed" if config.pos_embed == "none" else "pos_embed",)
    }
    for number, (end, last) in enumerate(zip(ends, ends_of_stages(config), strict=True)):
        held[end] = (*held.get(end, ()), *((ends[number - 1],) if number else ()))
        if is_eager:
            first = last + 1 - config.stages[number].depth
            held |= {f"blocks.{index}": (f"blocks.{index - 1}",) for index in range(first + 1, last + 1)}
            after = ends[min(number + 1, len(ends) - 1)]
            held[after] = (*held.get(after, ()), f"blocks.{last}")
    return held


def grids_of(config: "EncoderConfig") -> Iterator[Size]:
    """The grid of each stage, if a merging is between any two."""
    grid = config.grid
    for _ in config.stages:
        yield grid
        grid = slid(grid, MERGING)


def held_by_timm(config: "EncoderConfig") -> dict[str, tuple[str, ...]]:
    """What timm's forward has names for, by the block after which it is freed.

    The model names the patches until the stages have run, the stages what enters one, and a stage what enters its blocks.
    """
    held, ends = dict[str, tuple[str, ...]](), ends_of_stages(config)
    for number in range(1, len(ends)):
        held[f"blocks.{ends[number]}"] = (f"blocks.{ends[number - 1]}", f"transitions.{number}")
    last = f"blocks.{ends[-1]}"
    return held | {last: ("patch_embed", *held.get(last, ()))}


def of_one_stage(config: "EncoderConfig", number: int) -> Iterator[Wanted]:
    """What transformers has in each stage: one window, and widths that double from stage to stage."""
    first, stage = config.stages[0], config.stages[number]
    window = first.window_size[0]
    transition = "none" if number == 0 else MERGINGS[first.block]
    yield ("transition",), stage.transition == transition, f"transition {transition} in this stage"
    yield ("embed_dim",), stage.embed_dim == first.embed_dim << number, "widths that double at each stage"
    yield ("window_size",), stage.window_size == (window, window), "one window for all stages, a square"
    yield ("window_size",), window > 0, "windows"
    yield ("num_windows_side",), stage.num_windows_side is None, "window_size"
    yield ("shift_size",), stage.shift_size in {None, (window // 2, window // 2)}, "a shift of half a window"
    yield ("global_attn_indexes",), not stage.global_attn_indexes, "no global blocks"
    yield ("mlp_ratio",), stage.mlp_ratio == first.mlp_ratio, "one mlp_ratio"
    yield ("qkv_bias",), stage.qkv_bias == first.qkv_bias, "one qkv_bias"
    yield ("zeroed_key_bias",), not stage.zeroed_key_bias, "no bias of keys"
    yield ("overrides",), not stage.overrides, "blocks of one kind"


def of_transformers(config: "EncoderConfig") -> list[Wanted]:
    """What SwinModel and Swinv2Model have."""
    return [
        (("image_size",), len(config.image_size) == len(SQUARE), "images"),
        (("image_size",), not any(config.dropped), "images of whole patches: it pads others"),
        (("patch_embed",), config.patch_embed == "patch_norm", "patch_embed patch_norm"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), config.norm, "norm: true"),
        *(
            (("stages", number, *at), is_so, what)
            for number in range(len(config.stages))
            for at, is_so, what in of_one_stage(config, number)
        ),
    ]


def of_timm(config: "EncoderConfig") -> list[Wanted]:
    """What SwinTransformer and SwinTransformerV2 of timm have: those of transformers, and windows cut in each direction."""
    window = config.stages[0].window_size[0]
    fits = all(len(set(grid)) == 1 or min(grid) > window for grid in grids_of(config))
    return [
        *of_transformers(config),
        (("image_size",), fits, "grids that are larger than the window, or square"),
        (("pos_embed",), config.pos_embed == "none", "pos_embed none"),
    ]


def swin_of_timm(config: "EncoderConfig") -> Iterator[Problem]:
    """SwinTransformer."""
    yield from cannot_run("SwinTransformer of timm", of_timm(config))


def swin_of_transformers(config: "EncoderConfig") -> Iterator[Problem]:
    """SwinModel has one window and one kind of block; its tables of biases are for that window on every grid."""
    window = config.stages[0].window_size[0]
    fits = not any(side < window for grid in grids_of(config) for side in grid)
    wanted: list[Wanted] = [
        (("image_size",), fits, "no grid smaller than the window"),
        (("pos_embed",), config.pos_embed in {"none", "learned"}, "pos_embed none or learned"),
        (("pretrain_image_size",), config.pretrain_grid == config.grid, "positions made for image_size"),
    ]
    yield from cannot_run("SwinModel of transformers", [*wanted, *of_transformers(config)])


def backbone_of_transformers(config: "EncoderConfig") -> Iterator[Problem]:
    """SwinBackbone also shifts windows that cover the grid, which samattn's blocks do not."""
    window = config.stages[0].window_size[0]
    deep = [grid for grid, stage in zip(grids_of(config), config.stages, strict=True) if stage.depth > 1]
    wanted: list[Wanted] = [
        (
            ("image_size",),
            not any(side <= window for grid in deep for side in grid),
            "grids larger than the window",
        ),
        (("pos_embed",), config.pos_embed in {"none", "learned"}, "pos_embed none or learned"),
        (("pretrain_image_size",), config.pretrain_grid == config.grid, "positions made for image_size"),
    ]
    others = [each for each in of_transformers(config) if each[0] != ("norm",)]
    yield from cannot_run("SwinBackbone of transformers", [*wanted, *others])


def another_window(_config: "EncoderConfig") -> str:
    """A table of biases is for one window."""
    return "For another window_size, attn.relative_position_bias_table must be resized in each block with that window."


FAMILY = Family(
    blocks={
        "swin": Block(
            summary="Swin's block: pre-norm, windows shifted in every other block, a bias per relative position.",
            keys=frozenset({"shift_size"}),
            kernels=("eager", "sdpa"),
            place=clamped,
            other_sizes=another_window,
            axes=OF_VIDEOS,
        )
    },
    patch_embeds={
        "patch_norm": PatchEmbed(
            summary="Non-overlapping patches by a convolution, then a LayerNorm.",
            multiple=whole_patches,
            axes=OF_VIDEOS,
        )
    },
    transitions={
        "patch_merging": Transition(
            summary="Swin's: merges 2x2 tokens into one, then LayerNorm and a linear layer.",
            stream=merged,
            slides=MERGING,
            axes=OF_VIDEOS,
        ),
        "patch_merging_3d": Transition(
            summary="Swin UNETR's: merges 2x2x2 tokens into one, then LayerNorm and a linear layer.",
            stream=merged_3d,
            slides=MERGING_3D,
            axes=(3,),
        ),
    },
    necks={
        "swin_unetr": Part(
            summary="The end of Swin UNETR's encoder: merges 2x2x2 tokens, and norms what entered each stage and the result.",
            axes=(3,),
            stream=merged_at_the_end,
            taps=entering_stages,
            problems=no_norm_before,
        ),
        "stage_norms": Part(
            summary="A LayerNorm for the output of each stage, or of those in out_indices, as in Swin's detectors.",
            axes=OF_VIDEOS,
            keys=frozenset({"out_indices"}),
            taps=normed_stage_ends,
            problems=norms_problems,
        ),
        "swin_backbone": Part(
            summary="Like stage_norms, after a LayerNorm that runs and whose output nothing reads, as in transformers' backbone.",
            keys=frozenset({"out_indices"}),
            taps=copied_stage_ends,
            problems=norms_problems,
        ),
    },
    implementations=(
        Implementation(
            library="transformers",
            model="SwinModel",
            versions=("5.23", "5.24"),
            blocks=("swin",),
            necks=("none",),
            kernels=("sdpa", "eager"),
            difference="has a projection each for queries, keys and values, makes the mask of shifted windows in each block, "
            "adds it to the bias, and copies and holds what its stages return; its eager softmax is in float32; its checkpointing "
            "is of stages, and of the blocks in them",
            holds=held_by_stages,
            checkpoints=("stages", "blocks"),
            ending=ENDING,
            problems=swin_of_transformers,
        ),
        Implementation(
            library="transformers",
            model="SwinBackbone",
            versions=("5.23", "5.24"),
            blocks=("swin",),
            necks=("swin_backbone",),
            kernels=("sdpa", "eager"),
            difference="is SwinModel, which copies what enters its stages and what leaves each, and holds all of that to its end; "
            "each output is copied twice more for its norm",
            holds=held_by_backbone,
            checkpoints=("stages", "blocks"),
            ending=ENDING,
            problems=backbone_of_transformers,
        ),
        Implementation(
            library="timm",
            model="SwinTransformer",
            versions=("1.0.31",),
            blocks=("swin",),
            necks=("none",),
            kernels=("eager", "sdpa"),
            difference="shifts before it pads, copies tokens to pad them where there is nothing to pad, frees its windows "
            "before the MLP and holds what enters a stage until its end",
            holds=held_by_timm,
            problems=swin_of_timm,
        ),
    ),
)
