"""SwinIR and Swin2SR restore images: shifted windows over all pixels, in groups that end with a convolution and a skip.

The blocks are those of Swin and Swin V2. Sources: arXiv:2108.10257 and JingyunLiang/SwinIR, models/network_swinir.py;
arXiv:2209.11345 and transformers, models/swin2sr.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import (
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Problem,
    Sliding,
    Stream,
    Transition,
    Wanted,
    begin_of_group,
    cannot_run,
    entering_stage,
    first_output,
)
from ...errors import Message
from ...units import format_size

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

PIXEL = 1
"""The side of a patch."""
LARGEST_OF_NEAREST = 4
FEATURES = 64
"""The width of the upsamplers between their first convolution and their last."""
GROUP = "residual_group"
SWIN2SR = "pixels_proj"
"""The patch embedding with a 1x1 convolution, which each group has too."""
WITHOUT = "denoising"
"""The neck without an upsampler."""
RESULT = "swinir_body"
"""The neck that returns features."""
UPSAMPLERS = {
    "pixelshuffle": "pixelshuffle",
    "pixelshuffledirect": "pixelshuffledirect",
    "nearest_conv": "nearest+conv",
}
"""The necks that enlarge, and their names in the authors' code and in transformers."""
PATCH_EMBEDS_OF_PIXELS = ("pixels", SWIN2SR)


def window_of(config: EncoderConfig) -> Pair:
    """The window, which images are padded to a multiple of."""
    high, wide = config.stages[0].window_size
    return max(high, 1), max(wide, 1)


def projects(config: EncoderConfig) -> bool:
    """Whether tokens come from a 1x1 convolution, as in Swin2SR."""
    return config.patch_embed == SWIN2SR


def has_one(config: EncoderConfig, *, ends_body: bool) -> bool:
    """Whether a connection is one convolution. That after all groups always is in transformers' Swin2SR."""
    return config.resi_connection == "1conv" or (ends_body and projects(config))


def restores(config: EncoderConfig) -> bool:
    """Whether the last neck adds the image itself."""
    return config.neck == WITHOUT


def pixel_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A patch is a pixel, and reflecting pads less than the image has."""
    yield from patch_problems(config, at)
    yield from reflection_problems(config, window_of(config))


def patch_problems(config: EncoderConfig, _: int) -> Iterator[Problem]:
    """A patch is a pixel."""
    if config.patch_size != PIXEL:
        message = (
            f"patch_embed {config.patch_embed} has patch_size {PIXEL}, not {config.patch_size}: use {PIXEL}"
        )
        yield ("patch_size",), Message("patch-size-fixed", message)


def reflection_problems(config: EncoderConfig, multiple: Pair) -> Iterator[Problem]:
    """Reflecting pads less than the image has."""
    padded = config.padded_size
    if any(whole - side >= side for whole, side in zip(padded, config.image_size, strict=True)):
        message = (
            f"image_size {format_size(config.image_size)} is too small to be padded to {format_size(padded)}, whole windows, by "
            f"reflecting it: use at least {format_size(_least(multiple))}"
        )
        yield ("image_size",), Message("image-too-small", message)


def _least(multiple: Pair) -> Pair:
    """The smallest image that can be padded to one window."""
    high, wide = (side // 2 + 1 for side in multiple)
    return high, wide


def group_problems(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What entered a group is added to what leaves it, so that they are of one width."""
    before, stage = config.stages[number - 1], config.stages[number]
    if before.embed_dim != stage.embed_dim:
        message = f"transition {stage.transition} keeps the width, {before.embed_dim}: use embed_dim {before.embed_dim}, not {stage.embed_dim}"
        yield ("stages", number, "embed_dim"), Message("width-changes", message)


def entered(config: EncoderConfig) -> tuple[str, ...]:
    """What a neck takes: what entered the last group, then the features of the first convolution, then the image if it adds that."""
    return (entering_stage(config, begin_of_group(config, len(config.stages))), "patch_embed")


def enlarged(config: EncoderConfig, stream: Stream) -> Stream:
    """The restored image."""
    high, wide = stream.grid
    times = config.upscale
    return replace(stream, grid=(high * times, wide * times))


def neck_problems(
    config: EncoderConfig, _: int, pixels: tuple[str, ...] = PATCH_EMBEDS_OF_PIXELS
) -> Iterator[Problem]:
    """A neck ends the last group of an encoder that began with pixels, by one of the patch embeddings `pixels`."""
    if config.patch_embed not in pixels:
        message = f"neck {config.neck} takes the features of patch_embed {' or '.join(pixels)}, not of {config.patch_embed}"
        yield ("patch_embed",), Message("neck-does-not-fit", message)
    if config.norm:
        message = f"neck {config.neck} ends the last group, and norms its output itself: leave out norm"
        yield ("norm",), Message("norm-before-norm", message)
    if config.stages[0].embed_dim != config.stages[-1].embed_dim:
        message = f"neck {config.neck} adds the features of the first convolution: use embed_dim {config.stages[0].embed_dim}"
        yield ("stages", len(config.stages) - 1, "embed_dim"), Message("width-changes", message)


def is_power_of_two(number: int) -> bool:
    """Whether it is 1, 2, 4, ..."""
    return number & (number - 1) == 0


def _takes(config: EncoderConfig, *, is_right: bool, values: str) -> Iterator[Problem]:
    if not is_right:
        message = f"neck {config.neck} enlarges {values}, not {config.upscale} times: set upscale"
        yield ("upscale",), Message("upscale-not-supported", message)


def shuffle_problems(
    config: EncoderConfig, at: int, pixels: tuple[str, ...] = PATCH_EMBEDS_OF_PIXELS
) -> Iterator[Problem]:
    """Convolutions that enlarge 2 times each, or one that enlarges 3 times."""
    yield from neck_problems(config, at, pixels)
    times = config.upscale
    is_right = times > 1 and (times == 3 or is_power_of_two(times))  # noqa: PLR2004
    yield from _takes(config, is_right=is_right, values="2, 3, 4, 8 or 16")


def direct_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """One convolution enlarges any number of times."""
    yield from neck_problems(config, at)
    yield from _takes(config, is_right=config.upscale > 1, values="2 times or more")


def nearest_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Each of its one or two convolutions comes after a step that enlarges 2 times."""
    yield from neck_problems(config, at)
    yield from _takes(config, is_right=config.upscale in {2, 4}, values="2 or 4")


def image_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The restored image is the image plus what the neck computes."""
    yield from neck_problems(config, at)
    if config.out_chans != config.in_chans:
        message = f"neck {config.neck} adds the image, of {config.in_chans} channels: use out_chans {config.in_chans}"
        yield ("out_chans",), Message("neck-does-not-fit", message)


def held_by_model(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """What Swin2SRModel has names for until its end: its embeddings. It taps the features, and the image next to them."""
    return {"neck": (first_output("patch_embed"),)} if len(config.stages) > 1 else {}


def of_stage(config: EncoderConfig, number: int) -> Iterator[Wanted]:
    """What transformers has in each stage."""
    first, stage = config.stages[0], config.stages[number]
    window = first.window_size[0]
    transition = GROUP if number else "none"
    yield ("transition",), stage.transition == transition, f"transition {transition} in this stage"
    yield ("window_size",), stage.window_size == (window, window), "one window for all stages, a square"
    yield ("num_windows_side",), stage.num_windows_side is None, "window_size"
    yield ("shift_size",), stage.shift_size in {None, (window // 2, window // 2)}, "a shift of half a window"
    yield ("global_attn_indexes",), not stage.global_attn_indexes, "no global blocks"
    yield ("mlp_ratio",), stage.mlp_ratio == first.mlp_ratio, "one mlp_ratio"
    yield ("qkv_bias",), stage.qkv_bias == first.qkv_bias, "one qkv_bias"
    yield ("zeroed_key_bias",), not stage.zeroed_key_bias, "no bias of keys"
    yield ("overrides",), not stage.overrides, "blocks of one kind"


def of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """Swin2SRForImageSuperResolution: it pads an image, and then expects features of the size of the image without padding."""
    window = config.stages[0].window_size[0]
    larger = config.grid == (window, window) or min(config.grid) > window > 0
    wanted: list[Wanted] = [
        (
            ("image_size",),
            config.padded_size == config.image_size,
            "images of whole windows: it fails at others",
        ),
        (("image_size",), larger, "images that are larger than a window, or one window"),
        (("patch_embed",), config.patch_embed == SWIN2SR, f"patch_embed {SWIN2SR}"),
        (("pos_embed",), config.pos_embed == "none", "pos_embed none"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (
            ("run", "checkpointing"),
            not config.run.checkpointing,
            "run.checkpointing false: it checkpoints whole groups",
        ),
        (("upscale",), config.neck != "nearest_conv" or config.upscale == LARGEST_OF_NEAREST, "upscale 4"),
        (
            ("out_chans",),
            config.neck == RESULT or config.out_chans == config.in_chans,
            "as many out_chans as in_chans",
        ),
        *(
            (("stages", number, *at), is_so, what)
            for number in range(len(config.stages))
            for at, is_so, what in of_stage(config, number)
        ),
    ]
    yield from cannot_run("Swin2SRForImageSuperResolution of transformers", wanted)


GROUPED = frozenset({"resi_connection"})
RESTORED = GROUPED | {"out_chans"}
ENLARGED = RESTORED | {"upscale"}
CONVOLUTION = Sliding(kernel=3, before=1)

FAMILY = Family(
    patch_embeds={
        "pixels": PatchEmbed(
            summary="SwinIR's: the image, padded to whole windows, a 3x3 convolution and a LayerNorm; a token for each pixel.",
            multiple=window_of,
            problems=pixel_problems,
        ),
        SWIN2SR: PatchEmbed(
            summary="Swin2SR's: as pixels, with a 1x1 convolution before the LayerNorm, and one at the end of each residual group.",
            multiple=window_of,
            problems=pixel_problems,
        ),
    },
    transitions={
        GROUP: Transition(
            summary="Ends a residual group of SwinIR or Swin2SR: a convolution (resi_connection), to which what entered the group "
            "is added.",
            slides=(CONVOLUTION,),
            skips=True,
            problems=group_problems,
        )
    },
    necks={
        RESULT: Part(
            summary="What follows in SwinIR and Swin2SR, without an upsampler: ends the last group, LayerNorm, a convolution, and "
            "the features of the first convolution.",
            keys=GROUPED,
            taps=entered,
            problems=neck_problems,
        ),
        "pixelshuffle": Part(
            summary="swinir_body, then 3x3 convolutions, each of which enlarges 2 or 3 times by pixel shuffle.",
            keys=ENLARGED,
            taps=entered,
            stream=enlarged,
            problems=shuffle_problems,
        ),
        "pixelshuffledirect": Part(
            summary="swinir_body, then one 3x3 convolution and pixel shuffle, as in the lightweight models.",
            keys=ENLARGED,
            taps=entered,
            stream=enlarged,
            problems=direct_problems,
        ),
        "nearest_conv": Part(
            summary="swinir_body, then nearest-neighbour resizing by 2 and 3x3 convolutions (upsampler nearest+conv), for real-world images.",
            keys=ENLARGED,
            taps=entered,
            stream=enlarged,
            problems=nearest_problems,
        ),
        WITHOUT: Part(
            summary="swinir_body, then a 3x3 convolution, to which the image is added: denoising and JPEG artifacts, without an upsampler.",
            keys=RESTORED,
            taps=entered,
            problems=image_problems,
        ),
    },
    implementations=(
        Implementation(
            library="transformers",
            model="Swin2SRForImageSuperResolution",
            versions=("5.23", "5.24"),
            blocks=("swinv2",),
            necks=(RESULT, *UPSAMPLERS),
            kernels=("eager",),
            difference="has a projection each for queries, keys and values, makes the mask of shifted windows in each block, adds it "
            "twice, holds what leaves and enters its stages, the image that it has made, and the features next to what an upsampler makes of them",
            holds=held_by_model,
            problems=of_transformers,
        ),
    ),
)
