"""Checkpoints as public code names their weights, made from the shapes of an encoder: what `test_import.py` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.tape.other_sizes import weight_shapes

Shapes = dict[str, tuple[int, ...]]


def write_safetensors(path: Path, shapes: Shapes) -> Path:
    """A file of zeros that takes no room on disk. Source: the format's description, github.com/huggingface/safetensors."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def expanded(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Weights that share one number."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def of_sam(config: EncoderConfig) -> Shapes:
    """segment-anything's, MedSAM's and Medical SAM Adapter's: the encoder within the whole model."""
    rest = {"prompt_encoder.no_mask_embed.weight": (1, 256), "mask_decoder.iou_token.weight": (1, 256)}
    return {f"image_encoder.{name}": shape for name, shape in weight_shapes(config).items()} | rest


def of_mae(config: EncoderConfig) -> Shapes:
    """facebookresearch/mae's and timm's: the decoder has blocks of its own."""
    depth, renamed = config.stages[0].depth, {}
    for name, shape in weight_shapes(config).items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
        if block and int(block[1]) >= depth:
            renamed[f"decoder_blocks.{int(block[1]) - depth}.{block[2]}"] = shape
        else:
            renamed[re.sub(r"^(pos_embed|transitions\.1|neck)\.", "", name)] = shape
    return renamed


def of_vit(config: EncoderConfig) -> Shapes:
    """timm's, with its head."""
    width = config.stages[0].embed_dim
    return of_mae(config) | {"head.weight": (1000, width), "head.bias": (1000,)}


def of_detectron2(config: EncoderConfig) -> Shapes:
    """A detector of detectron2's."""
    found = {"roi_heads.box_head.fc1.weight": (1024, 12544)}
    for name, shape in weight_shapes(config).items():
        of_net = f"net.{name.replace('pos_embed.', '').replace('.mlp.lin', '.mlp.fc')}"
        found[f"backbone.{name.removeprefix('neck.') if name.startswith('neck.') else of_net}"] = shape
    return found


def of_swin(config: EncoderConfig) -> Shapes:
    """Microsoft's, with the buffers that its checkpoints hold; a merging ends a layer."""
    found: Shapes = {"head.weight": (1000, config.stages[-1].embed_dim)}
    places = list(_places(config))
    for name, shape in weight_shapes(config).items():
        if block := re.fullmatch(r"blocks\.(\d+)\.(.*)", name):
            layer, index = places[int(block[1])]
            found[f"layers.{layer}.blocks.{index}.{block[2]}"] = shape
        elif merging := re.fullmatch(r"transitions\.(\d+)\.(.*)", name):
            found[f"layers.{int(merging[1]) - 1}.downsample.{merging[2]}"] = shape
        else:
            found[name] = shape
    return found | dict(_buffers(config))


def _places(config: EncoderConfig) -> Iterator[tuple[int, int]]:
    for number, stage in enumerate(config.stages):
        for index in range(stage.depth):
            yield number, index


def _buffers(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Of each block; its mask only where windows are shifted."""
    for layer, (number, index) in zip(config.layers, _places(config), strict=True):
        height, width = layer.windows.size
        before, area = f"layers.{number}.blocks.{index}", height * width
        yield f"{before}.attn.relative_position_index", (area, area)
        if layer.stage.block == "swinv2":
            yield f"{before}.attn.relative_coords_table", (1, 2 * height - 1, 2 * width - 1, 2)
        if any(layer.shift_size):
            yield f"{before}.attn_mask", (prod(layer.windows.counts), area, area)


def of_sam2(config: EncoderConfig) -> Shapes:
    """facebookresearch/sam2's."""
    found: Shapes = {"no_mem_embed": (1, 1, 256), "sam_mask_decoder.iou_token.weight": (1, 256)}
    special = {"pos_embed.background": "trunk.pos_embed", "pos_embed.window": "trunk.pos_embed_window"}
    for name, shape in weight_shapes(config).items():
        theirs = name if name.startswith("neck.") else special.get(name, f"trunk.{name}")
        found[f"image_encoder.{theirs}"] = shape
    return found


def of_tiny_vit(config: EncoderConfig) -> Shapes:
    """Microsoft's, with its head and the buffers of batch norms; MobileSAM's, within the whole model."""
    width, places, found = config.stages[-1].embed_dim, list(_places(config)), Shapes()
    for name, shape in weight_shapes(config).items():
        if block := re.fullmatch(r"blocks\.(\d+)\.(.*)", name):
            layer, index = places[int(block[1])]
            theirs = f"layers.{layer}.blocks.{index}.{block[2]}"
        else:
            theirs = re.sub(r"transitions\.(\d+)", lambda at: f"layers.{int(at[1]) - 1}.downsample", name)
        found[theirs] = shape
        if theirs.endswith("bn.weight"):
            bn = theirs.removesuffix("weight")
            found |= {f"{bn}running_mean": shape, f"{bn}running_var": shape, f"{bn}num_batches_tracked": ()}
    found |= {"norm_head.weight": (width,), "head.weight": (1000, width)}
    return {f"image_encoder.{name}": found[name] for name in found} if config.neck == "sam" else found


PUBLISHED = {
    of_sam: ("sam_vit_b", "sam_vit_l", "sam_vit_h", "sam_vit_h_all_global", "med_sam_adapter_b", "sam_vit_b_lora"),
    of_vit: ("vit_b", "vit_l", "vit_h"),
    of_mae: ("mae_b_pretrain", "mae_h_pretrain"),
    of_detectron2: ("vitdet_b", "vitdet_l_fpn"),
    of_swin: ("swin_t", "swin_b_384", "swinv2_t", "swinv2_l"),
    of_tiny_vit: ("mobile_sam", "tiny_vit_5m", "tiny_vit_21m"),
    of_sam2: ("sam2_hiera_t", "sam2_hiera_s", "sam2_hiera_b_plus", "sam2_hiera_l"),
}  # fmt: skip
"""Presets by whose checkpoints they have."""


def shapes_of(preset: str) -> Shapes:
    """The names and shapes of a published checkpoint."""
    kind = next(kind for kind, presets in PUBLISHED.items() if preset in presets)
    return kind(load_config(preset))
