"""ViTDet of transformers (VitDetModel), and detectron2's SimpleFeaturePyramid, which is written again here.

detectron2 cannot be installed next to torch 2.13. So the pyramid is written with torch's functions, on weights with
detectron2's names (modeling/backbone/vit.py, fpn.py, layers/batch_norm.py). It shares no code with samattn. Its parameters are
the weights that these calls use. The figures of transformers are used without a correction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VitDetConfig, VitDetModel

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = ("vitdet_b", "vitdet_l", "vitdet_h", "vitdet_b_fpn", "vitdet_l_fpn", "vitdet_h_fpn")


class Public(nn.Module):
    """transformers' backbone, followed by the pyramid if a config has it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.backbone = VitDetModel(transformers_config(config)).eval()
        width = config.stages[-1].embed_dim
        shapes = pyramid_shapes(width, config.out_chans) if config.neck == "simple_fpn" else {}
        self.names = tuple(shapes)
        self.weights = nn.ParameterList(torch.zeros(shape) for shape in shapes.values())

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, 3, height, width) -> (B, C, H, W), or the maps of the pyramid."""
        features = self.backbone(image).last_hidden_state
        if not self.names:
            return features
        return pyramid(features, dict(zip(self.names, self.weights, strict=True)))


def transformers_config(config: EncoderConfig) -> VitDetConfig:
    """Of an encoder of one stage, square windows and a square pretraining; `rel_pos_grid` is the image it is made for."""
    (stage,) = config.stages
    depth, patch = range(stage.depth), config.patch_size
    made_for = stage.rel_pos_grid or config.grid
    windowed = [i for i in depth if stage.window_size != (0, 0) and i not in stage.global_attn_indexes]
    return VitDetConfig(
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=int(stage.mlp_ratio),
        image_size=[side * patch for side in made_for],
        pretrain_image_size=config.pretrain_grid[0] * patch,
        patch_size=patch,
        num_channels=config.in_chans,
        qkv_bias=stage.qkv_bias,
        window_block_indices=windowed,
        residual_block_indices=list(stage.residual_block_indexes),
        use_relative_position_embeddings=stage.rel_pos == "decomposed",
        window_size=stage.window_size[0],
    )


def pyramid_shapes(C: int, channels: int) -> dict[str, tuple[int, ...]]:
    """The weights of SimpleFeaturePyramid by detectron2's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "simfp_2.0.weight": (C, C // 2, 2, 2),
        "simfp_2.0.bias": (C // 2,),
        "simfp_2.1.weight": (C // 2,),
        "simfp_2.1.bias": (C // 2,),
        "simfp_2.3.weight": (C // 2, C // 4, 2, 2),
        "simfp_2.3.bias": (C // 4,),
        "simfp_3.0.weight": (C, C // 2, 2, 2),
        "simfp_3.0.bias": (C // 2,),
    }
    for name, first, width in LATERALS:
        for layer, entering, kernel in ((first, C // width, 1), (first + 1, channels, 3)):
            shapes[f"{name}.{layer}.weight"] = (channels, entering, kernel, kernel)
            shapes[f"{name}.{layer}.norm.weight"] = (channels,)
            shapes[f"{name}.{layer}.norm.bias"] = (channels,)
    return shapes


LATERALS = (("simfp_2", 4, 4), ("simfp_3", 1, 2), ("simfp_4", 0, 1), ("simfp_5", 1, 1))
"""Each level, the number of its first convolution, and by what the width is divided there."""


def pyramid(x: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """(B, C, H, W) -> p2 to p6."""

    def norm(y: Tensor, name: str) -> Tensor:
        y = F.layer_norm(
            y.movedim(1, -1), y.shape[1:2], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6
        )
        return y.movedim(-1, 1)

    def up(y: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2)

    doubled = F.gelu(norm(up(x, "simfp_2.0"), "simfp_2.1"))
    scaled = (up(doubled, "simfp_2.3"), up(x, "simfp_3.0"), x, F.max_pool2d(x, 2))
    maps = []
    for y, (name, first, _) in zip(scaled, LATERALS, strict=True):
        lateral = norm(F.conv2d(y, weights[f"{name}.{first}.weight"]), f"{name}.{first}.norm")
        out = F.conv2d(lateral, weights[f"{name}.{first + 1}.weight"], padding=1)
        maps.append(norm(out, f"{name}.{first + 1}.norm"))
    return (*maps, maps[-1][:, :, ::2, ::2])


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    return counted_for(load_config(preset))


def counted_for(config: EncoderConfig) -> tuple[int, int]:
    """Parameters and FLOPs of one forward of an encoder's batch."""
    with torch.device("meta"):  # transformers makes the indexes of relative positions on the default device
        return counted(Public(config), torch.empty(config.input_shape))


SMALL = {
    "image_size": 96,
    "patch_size": 16,
    "block": "vitdet",
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 2,
    "pos_embed": "pretrained",
    "pretrain_image_size": 80,
    "rel_pos": "decomposed",
    "rel_pos_grid": 6,
    "window_size": 4,
    "global_attn_indexes": [1],
}
VARIANTS = {
    "the grid of the tables": {},
    "the grid of the pretraining": {"pretrain_image_size": 96},
    "windows that divide the grid": {"window_size": 3},
    "a larger grid, not square": {"image_size": [112, 144]},
    "a smaller grid than the tables": {"image_size": [48, 80], "rel_pos_grid": 8, "pretrain_image_size": 144},
    "one side as long as the tables": {"image_size": [96, 64]},
    "convolutional propagation": {"residual_block_indexes": [0, 2], "global_attn_indexes": []},
    "convolution after a global block": {"residual_block_indexes": [1], "image_size": [64, 112]},
    "two images": {"run.batch_size": 2},
    "no relative positions": {"rel_pos": "none", "rel_pos_grid": None},
    "pyramid": {"neck": "simple_fpn", "out_chans": 8},
    "pyramid of an odd grid": {"neck": "simple_fpn", "out_chans": 6, "image_size": [112, 80]},
    "pyramid of an odd width": {"neck": "simple_fpn", "embed_dim": 22, "out_chans": 5},
}
EVERYTHING = {
    "image_size": [112, 144],
    "residual_block_indexes": [0, 1],
    "neck": "simple_fpn",
    "out_chans": 8,
    "run.batch_size": 2,
}
"""A grid of 7x9, padded, tables of 6x6 and positions of 5x5 resized, convolutions, pyramid of an odd grid."""

NAMES = {
    "backbone.embeddings.position_embeddings": "pos_embed.pos_embed",
    "backbone.embeddings.projection.": "patch_embed.proj.",
    "backbone.encoder.layer.": "blocks.",
    ".attention.": ".attn.",
    ".mlp.fc": ".mlp.lin",
}


def renamed(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names; those of the pyramid are in the order of its names."""
    pyramids = iter(pyramid_shapes(config.stages[-1].embed_dim, config.out_chans))
    result = {}
    for name, weight in theirs.items():
        ours = f"neck.{next(pyramids)}" if name.startswith("weights.") else name
        for old, new in NAMES.items():
            ours = ours.replace(old, new)
        result[ours] = weight
    return result


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    made = theirs(image)
    return made if config.neck == "simple_fpn" else (made.permute(0, 2, 3, 1),)


RESIZED = {
    "rel_pos": "joint",
    "image_size": [64, 112],
    "depth": 1,
    "global_attn_indexes": [0],
    "run.attention": "eager",
    "run.autocast": "bfloat16",
}

RECORDS = (
    Record(
        name="ViTDet",
        blocks=("vitdet",),
        presets=("vitdet_b_fpn",),
        larger=("vitdet_b",),
        count=count,
        small=SMALL,
        public=Public,
        weights=renamed,
        outputs=_outputs,
        values=VARIANTS,
        folded={
            name: VARIANTS[name]
            for name in (
                "the grid of the pretraining",
                "pyramid of an odd width",
            )
        }
        | {"joint tables that are resized, sdpa": RESIZED | {"run.attention": "sdpa"}},
        in_full={
            "one side as long as the tables": VARIANTS["one side as long as the tables"],
            "joint tables that are resized, eager": RESIZED,
            "eager in bfloat16": EVERYTHING | {"run.dtype": "bfloat16"},
            "eager, autocast, checkpointed": EVERYTHING
            | {"run.autocast": "bfloat16", "run.checkpointing": True},
            "sdpa, autocast": EVERYTHING | {"run.attention": "sdpa", "run.autocast": "float16"},
            "fused in float16, checkpointed": EVERYTHING
            | {"run.attention": "fused", "run.dtype": "float16", "run.checkpointing": True},
        },
        verified={"vitdet_b_fpn": {"image_size": [800, 1216], "run.attention": "fused"}},
        bad={
            "a convolution after a block that does not exist": (
                {"residual_block_indexes": [3]},
                "[no-such-block] residual_block_indexes 3 0 2",
            ),
            "the same twice": (
                {"residual_block_indexes": [1, 1]},
                "[duplicate-block] residual_block_indexes 1",
            ),
            "a convolution after SAM's block": (
                {"block": "vit", "residual_block_indexes": [1]},
                "[unused-key] residual_block_indexes",
            ),
            "a bottleneck of nothing": (
                {"embed_dim": 1, "num_heads": 1, "residual_block_indexes": [1]},
                "[no-channels-left] embed_dim 1",
            ),
            "tables of nothing": (
                {"rel_pos": "none"},
                "[unused-key] rel_pos_grid rel_pos",
            ),
            "a pyramid of nothing": (
                {"embed_dim": 3, "num_heads": 1, "neck": "simple_fpn"},
                "[no-channels-left] embed_dim 3 simple_fpn",
            ),
            "a pyramid of one row": (
                {"image_size": [16, 96], "neck": "simple_fpn"},
                "[neck-does-not-fit] neck simple_fpn 2x2 1x6",
            ),
            "no positions": (
                {"pretrain_image_size": 0},
                "[out-of-range] pretrain_image_size 1 0",
            ),
        },
    ),
)
