"""The frozen config of an encoder. The words are SAM's and timm's; the descriptions here are the documentation.

Source of the words: segment-anything, modeling/image_encoder.py, ``ImageEncoderViT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ..units import ITEM_BYTES
from .keys import FLAG, TEXT, Pair, choice, indexes, key, many, number, pair, whole

MAX_SIDE = 1 << 20
MAX_WIDTH = 1 << 20
MAX_DEPTH = 1000
MAX_STAGES = 64

WIDTH = whole(1, MAX_WIDTH)

Phase = Literal["forward", "backward", "step"]
Section = tuple[str, Phase]
"""A part or block ("blocks.7") in the forward or the backward of a pass; ("optimizer", "step")."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Consecutive transformer blocks of one shape."""

    embed_dim: int = key(WIDTH, "Width of the token stream, in channels.", example=768)
    depth: int = key(whole(1, MAX_DEPTH), "Number of transformer blocks.", example=12)
    num_heads: int = key(WIDTH, "Attention heads; they must divide embed_dim.", example=12)
    mlp_ratio: float = key(
        number(0, 1024), "Hidden width of the MLP over embed_dim.", example=4.0, default=4.0
    )
    qkv_bias: bool = key(FLAG, "Whether the qkv projection has a bias.", example=True, default=True)
    rel_pos: str = key(
        choice("none", "decomposed", "joint"),
        "Relative positions: decomposed adds a table per axis, (2h-1)+(2w-1) entries per head channel, as SAM and "
        "ViTDet do; joint is the full table of (2h-1)(2w-1) entries.",
        example="decomposed",
        default="none",
    )
    window_size: Pair = key(
        pair(whole(0, MAX_SIDE)),
        "Attention window in tokens: a number, or [height, width]. 0: every block is global.",
        example=14,
        default=(0, 0),
    )
    global_attn_indexes: tuple[int, ...] = key(
        indexes(),
        "Blocks that attend over the whole grid in place of windows, counted from 0 over the whole encoder, as in "
        "'blocks.7'.",
        example=[2, 5, 8, 11],
        default=(),
    )

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP, rounded down as SAM does."""
        return int(self.embed_dim * self.mlp_ratio)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How the encoder is run."""

    batch_size: int = key(whole(1, 1 << 20), "Images a forward pass.", example=1, default=1)
    dtype: str = key(
        choice(*ITEM_BYTES),
        "Type of the weights, and of every activation where autocast is none.",
        example="bfloat16",
        default="float32",
    )
    autocast: str = key(
        choice("none", "bfloat16", "float16"),
        "torch.autocast at CUDA: products in this type, norms and softmax in float32; weights stay float32.",
        example="bfloat16",
        default="none",
    )
    attention: str = key(
        choice("eager", "sdpa", "fused"),
        "Attention kernel: eager makes the score matrix, as SAM's code does; sdpa is torch's "
        "scaled_dot_product_attention with the relative positions as its mask; fused folds decomposed relative "
        "positions into longer queries and keys and makes no matrix of tokens by tokens.",
        example="fused",
        default="eager",
    )
    mode: str = key(
        choice("inference", "training"),
        "What memory and time are asked for: an inference forward, or a training step.",
        example="training",
        default="inference",
    )
    optimizer: str = key(
        choice("adamw", "sgd_momentum", "sgd"),
        "Optimizer of a training step, as torch.optim has it by default; it keeps two, one or no buffers a weight.",
        example="sgd",
        default="adamw",
    )
    checkpointing: bool = key(
        FLAG,
        "Whether a training step keeps only the input of each block and runs its forward again in backward.",
        example=True,
        default=False,
    )
    tf32: bool = key(
        FLAG, "Whether float32 products may use TF32 units; changes time only.", example=True, default=False
    )

    @property
    def product_dtype(self) -> str:
        """Type of matrix products and convolutions."""
        return self.dtype if self.autocast == "none" else self.autocast


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A vision encoder: patch embedding, position embedding, stages of blocks, neck."""

    # Made by load_config, which checks it; made directly, nothing of it is checked.

    name: str = key(
        TEXT, "What to call it; the file's name if left out.", example="my_vit", default="encoder"
    )
    description: str = key(TEXT, "One line for `samattn configs`.", example="SAM ViT-H", default="")
    image_size: Pair = key(
        pair(whole(1, MAX_SIDE)), "Input in pixels: a number, or [height, width].", example=1024
    )
    in_chans: int = key(WIDTH, "Channels of the input.", example=3, default=3)
    patch_size: int = key(whole(1, MAX_SIDE), "Side of the square patch; also the stride.", example=16)
    pos_embed: str = key(
        choice("none", "learned"),
        "Absolute positions: one learned vector per patch, or none.",
        example="learned",
        default="learned",
    )
    neck: str = key(
        choice("none", "sam"),
        "sam: 1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
        example="sam",
        default="none",
    )
    out_chans: int = key(WIDTH, "Output channels of the neck.", example=256, default=256)
    stages: tuple[StageConfig, ...] = key(
        many(StageConfig, 1, MAX_STAGES),
        "Stages of blocks. The keys of a single stage may stand at the top level instead.",
        example=[{"embed_dim": 768, "depth": 12, "num_heads": 12}],
    )
    run: RunConfig = key(
        RunConfig, "How the encoder is run.", example={"dtype": "bfloat16"}, default=RunConfig()
    )

    @property
    def grid(self) -> Pair:
        """Patches (high, wide). As in the patch convolution, a rest smaller than a patch is dropped."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def layers(self) -> tuple[LayerConfig, ...]:
        """The blocks in order."""
        return tuple(self._layers())

    def _layers(self) -> Iterator[LayerConfig]:
        first = 0
        for stage_index, stage in enumerate(self.stages):
            for index in range(first, first + stage.depth):
                windowed = stage.window_size != (0, 0) and index not in stage.global_attn_indexes
                yield LayerConfig(index, stage_index, stage, stage.window_size if windowed else (0, 0))
            first += stage.depth

    def all_global(self) -> EncoderConfig:
        """The same encoder with every block global."""
        return self._with_stages(replace(stage, window_size=(0, 0)) for stage in self.stages)

    def all_windowed(self) -> EncoderConfig:
        """The same encoder with every block windowed; stages without a window stay global."""
        return self._with_stages(replace(stage, global_attn_indexes=()) for stage in self.stages)

    def _with_stages(self, stages: Iterator[StageConfig]) -> EncoderConfig:
        return replace(self, stages=tuple(stages))


@dataclass(frozen=True)
class LayerConfig:
    """One block: its index over the encoder, its stage, and its window ((0, 0): global)."""

    index: int
    stage_index: int
    stage: StageConfig
    window_size: Pair

    @property
    def name(self) -> str:
        """Its module name in the real stack."""
        return f"blocks.{self.index}"

    @property
    def is_global(self) -> bool:
        """Whether it attends over the whole grid."""
        return self.window_size == (0, 0)
