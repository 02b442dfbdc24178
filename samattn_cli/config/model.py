"""The frozen config of an encoder. The words are SAM's and timm's; the descriptions here are the documentation.

Source of the words: segment-anything, modeling/image_encoder.py, ``ImageEncoderViT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..units import DType

Pair = tuple[int, int]  # (height, width)

MAX_SIDE = 1 << 20
MAX_WIDTH = 1 << 20
MAX_DEPTH = 1000


def _pair(value: Any) -> Any:
    """A number stands for (height, width) with both the same."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _sorted(value: Any) -> Any:
    if not isinstance(value, (tuple, list)):
        return value
    return tuple(sorted(value) if all(type(item) is int for item in value) else value)


_SizePair = BeforeValidator(_pair, json_schema_input_type=Union[int, Pair])

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
WindowSide = Annotated[int, Field(ge=0, le=MAX_SIDE)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
BlockIndex = Annotated[int, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StageConfig(_Frozen):
    """Consecutive transformer blocks of one shape."""

    embed_dim: Width = Field(description="Width of the token stream, in channels.", examples=[768])
    depth: int = Field(ge=1, le=MAX_DEPTH, description="Number of transformer blocks.", examples=[12])
    num_heads: Width = Field(description="Attention heads; they must divide embed_dim.", examples=[12])
    mlp_ratio: float = Field(
        4.0, gt=0, le=1024, description="Hidden width of the MLP over embed_dim.", examples=[4.0]
    )
    qkv_bias: bool = Field(True, description="Whether the qkv projection has a bias.", examples=[True])
    rel_pos: Literal["none", "decomposed", "joint"] = Field(
        "none",
        description="Relative positions: decomposed adds a table per axis, (2h-1)+(2w-1) entries per head channel, "
        "as SAM and ViTDet do; joint is the full table of (2h-1)(2w-1) entries.",
        examples=["decomposed"],
    )
    window_size: Annotated[tuple[WindowSide, WindowSide], _SizePair] = Field(
        (0, 0),
        description="Attention window in tokens: a number, or [height, width]. 0: every block is global.",
        examples=[14],
    )
    global_attn_indexes: Annotated[tuple[BlockIndex, ...], BeforeValidator(_sorted)] = Field(
        (),
        description="Blocks that attend over the whole grid in place of windows, counted from 0 over the whole "
        "encoder, as in 'blocks.7'.",
        examples=[[2, 5, 8, 11]],
    )

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP, rounded down as SAM does."""
        return int(self.embed_dim * self.mlp_ratio)


class RunConfig(_Frozen):
    """How the encoder is run."""

    batch_size: int = Field(1, ge=1, le=1 << 20, description="Images a forward pass.", examples=[1])
    dtype: DType = Field(
        "float32", description="Type of the weights and of every activation.", examples=["bfloat16"]
    )


class EncoderConfig(_Frozen):
    """A vision encoder: patch embedding, position embedding, stages of blocks, neck."""

    name: str = Field("encoder", description="What to call it; the file's name if left out.", examples=["my_vit"])
    description: str = Field("", description="One line for `samattn configs`.", examples=["SAM ViT-H"])
    image_size: Annotated[tuple[Side, Side], _SizePair] = Field(
        description="Input in pixels: a number, or [height, width].", examples=[1024]
    )
    in_chans: Width = Field(3, description="Channels of the input.", examples=[3])
    patch_size: Side = Field(description="Side of the square patch; also the stride.", examples=[16])
    pos_embed: Literal["none", "learned"] = Field(
        "learned", description="Absolute positions: one learned vector per patch, or none.", examples=["learned"]
    )
    neck: Literal["none", "sam"] = Field(
        "none",
        description="sam: 1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
        examples=["sam"],
    )
    out_chans: Width = Field(256, description="Output channels of the neck.", examples=[256])
    stages: tuple[StageConfig, ...] = Field(
        min_length=1,
        max_length=64,
        description="Stages of blocks. The keys of a single stage may stand at the top level instead.",
        examples=[[{"embed_dim": 768, "depth": 12, "num_heads": 12}]],
    )
    run: RunConfig = Field(RunConfig(), description="How the encoder is run.", examples=[{"dtype": "bfloat16"}])

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
        index = 0
        for number, stage in enumerate(self.stages):
            for index in range(index, index + stage.depth):
                windowed = stage.window_size != (0, 0) and index not in stage.global_attn_indexes
                yield LayerConfig(index, number, stage, stage.window_size if windowed else (0, 0))
            index += 1

    def all_global(self) -> EncoderConfig:
        """The same encoder with every block global."""
        return self._with_stages(stage.model_copy(update={"window_size": (0, 0)}) for stage in self.stages)

    def all_windowed(self) -> EncoderConfig:
        """The same encoder with every block windowed; stages without a window stay global."""
        return self._with_stages(stage.model_copy(update={"global_attn_indexes": ()}) for stage in self.stages)

    def _with_stages(self, stages: Iterator[StageConfig]) -> EncoderConfig:
        return self.model_copy(update={"stages": tuple(stages)})


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
