"""TinyViT: checkpoints of Microsoft's code and of MobileSAM, and timm's models.

Sources: microsoft/Cream, TinyViT/models/tiny_vit.py; ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py and
build_sam.py; timm, models/tiny_vit.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate, count, takewhile

from ...importing.checkpoint import Shapes
from ...importing.description import Keys, ratio_of
from ...importing.weights import CheckpointKind, Weights, renamer, square_side

STEM = ("patch_embed.seq.0.c.weight", "patch_embed.conv1.conv.weight")
"""The first convolution in the authors' code, and in timm."""
BLOCK = re.compile(r"(?:layers|stages)\.([0-9]{1,4})\.blocks\.([0-9]{1,4})\.(.*)")
MERGING = re.compile(r"(layers|stages)\.([0-9]{1,4})\.downsample\.(.*)")
GRIDS = 32
"""Pixels along an image's side for each token of the first window, in published models."""
HEAD_WIDTH = 32
"""Channels of a head, in published models."""
SIZE_OF_SAM = 1024


def is_tiny_vit(shapes: Shapes) -> bool:
    """Whether it has the stem and biases of TinyViT."""
    return not shapes.keys().isdisjoint(STEM) and any(name.endswith(".attention_biases") for name in shapes)


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """Blocks are numbered over the whole encoder. A merging ends a layer; timm's begins the next."""
    depths: dict[int, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, shapes)):
        depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    firsts = [*accumulate(takewhile(bool, (depths.get(layer, 0) for layer in count())), initial=0)]
    name_of = renamer(
        (r".*(running_mean|running_var|num_batches_tracked|attention_bias_idxs|\.ab)", None),
        (r"(norm_head|head)\..*", None),
        (r"patch_embed\.conv1\.(.*)", r"patch_embed.seq.0.\1"),
        (r"patch_embed\.conv2\.(.*)", r"patch_embed.seq.2.\1"),
    )

    def name(theirs: str) -> str | None:
        if (kept := name_of(theirs)) is None:
            return None
        ours = kept.replace(".conv.weight", ".c.weight")
        if (match := BLOCK.fullmatch(ours)) and int(match[1]) < len(firsts):
            return f"blocks.{firsts[int(match[1])] + int(match[2])}.{match[3]}"
        if match := MERGING.fullmatch(ours):
            return f"transitions.{int(match[2]) + (match[1] == 'layers')}.{match[3]}"
        return ours

    return name


def from_weights(weights: Weights) -> Keys:
    """Widths show where stages begin; the table of biases shows heads and the window; the neck shows MobileSAM."""
    _, in_chans, *_ = weights.shape("patch_embed.seq.0.c.weight", 4)
    is_sam = "neck.0.weight" in weights
    stages = _stages(weights, is_sam=is_sam)
    keys = {
        "image_size": weights.attributes.get("input_size") or _image_size(weights, stages, is_sam=is_sam),
        "in_chans": in_chans,
        "patch_size": 4,
        "patch_embed": "conv_stem",
        "pos_embed": "none",
        "stages": stages,
    }
    if not is_sam:
        return keys
    return {**keys, "neck": "sam", "out_chans": weights.shape("neck.0.weight", 4)[0]}


def _image_size(weights: Weights, stages: list[Keys], *, is_sam: bool) -> int:
    """That of published models with these windows; the weights do not show it, and take any."""
    windows = [stage["window_size"] for stage in stages if "window_size" in stage]
    size = SIZE_OF_SAM if is_sam else GRIDS * windows[0]
    whose = "MobileSAM" if is_sam else f"published models with windows of {windows[0]}"
    weights.notes.append(
        f"Weights do not show the image size: {size} is that of {whose}. --image-size takes another."
    )
    return size


def _stages(weights: Weights, *, is_sam: bool) -> list[Keys]:
    """A stage for each run of blocks with the same kind and width; each but the first begins with a merging."""
    stages: list[Keys] = []
    last = ""
    for index in count():
        kind = _kind(weights, index)
        if kind is None:
            break
        if stages and stages[-1]["block"] == kind["block"] and stages[-1]["embed_dim"] == kind["embed_dim"]:
            stages[-1]["depth"] += 1
            continue
        transition = {"transition": "conv_merging"} if stages else {}
        stages.append({**kind, "depth": 1, **transition})
        last = kind["block"]
    if not stages or last != "tiny_vit":
        raise weights.missing("blocks.0.conv1.c.weight" if not stages else "blocks.2.attn.attention_biases")
    if is_sam:
        stages[-1]["transition"] = "conv_widening"
    return stages


def _kind(weights: Weights, index: int) -> Keys | None:
    """The keys of a block; None if there is no such block."""
    block = f"blocks.{index}"
    if f"{block}.conv1.c.weight" in weights:
        hidden, width, *_ = weights.shape(f"{block}.conv1.c.weight", 4)
        heads = width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1
        return {
            "block": "mbconv",
            "embed_dim": width,
            "num_heads": heads,
            "mlp_ratio": ratio_of(hidden, width),
        }
    if f"{block}.attn.attention_biases" not in weights:
        return None
    heads, area = weights.shape(f"{block}.attn.attention_biases", 2)
    hidden, width = weights.shape(f"{block}.mlp.fc1.weight", 2)
    if (window := square_side(area)) is None:
        raise weights.error(
            "not-in-shapes", f"{area} biases of block {index} are not those of a square window"
        )
    return {
        "block": "tiny_vit",
        "embed_dim": width,
        "num_heads": heads,
        "window_size": window,
        "mlp_ratio": ratio_of(hidden, width),
    }


CHECKPOINTS = (CheckpointKind(is_tiny_vit, names, from_weights),)
