"""The frozen config of an encoder. Names of keys follow SAM and timm; the descriptions of keys are their documentation.

Source of the names: segment-anything, modeling/image_encoder.py, ``ImageEncoderViT``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from math import lcm
from typing import Any, Literal, cast

from ..records import dataclass, replace
from ..units import DTYPE_NAMES, ITEM_BYTES
from .allocator_settings import parse_settings
from .checkpointed import EXAMPLES as SOME_BLOCKS
from .checkpointed import Checkpointing, checkpointed, checkpointed_stages, parse_checkpointing
from .keys import (
    FLAG,
    TEXT,
    Size,
    choice,
    flag_or_whole,
    indexes,
    key,
    listed,
    many,
    number,
    optional,
    pair,
    parsed,
    share,
    side_or_sides,
    size,
    texts,
    union,
    whole,
)
from .placed import placed
from .placement import NO_WINDOW, Placement, placement_of
from .plan import LayerConfig, PartConfig, Stretch
from .planning import stretches_of
from .registry import (
    BLOCKS,
    NECKS,
    NONE,
    PATCH_EMBEDS,
    POS_EMBEDS,
    REFERENCE,
    TRANSITIONS,
    summaries,
)
from .slots import sides_of
from .torch_versions import DEFAULT, FSDP_REDUCES_AS_SHARDS_SINCE, known, parse_torch, version_of, words
from .torch_versions import RANGE as TORCH_RANGE
from .torch_versions import Version as TorchVersion
from .trained import parse_trains, trained_parts

MAX_SIDE = 1 << 20
MAX_WIDTH = 1 << 20
MAX_DEPTH = 1000
MAX_STAGES = 64
MAX_UPSCALE = 16
MAX_BATCH = 1 << 20
MAX_GPUS = 1 << 16

OF_FSDP = ("fsdp2", "zero2", "zero3")
"""The words of `run.parallel` that are forms of FSDP2."""
SHARDED = ("zero1", *OF_FSDP)
"""Those that share something out among GPUs, so that memory depends on how many there are."""

LIBRARIES = (REFERENCE, "transformers", "timm")
"""Whose code may run an encoder."""

WIDTH = whole(1, MAX_WIDTH)
HALVES = ("bfloat16", "float16")

Phase = Literal["forward", "backward", "step"]
Section = tuple[str, Phase]
"""A part or block ("blocks.7") in the forward or the backward of a pass; ("optimizer", "step")."""


@dataclass(frozen=True, kw_only=True)
class OverrideConfig:
    """Settings of some blocks of a stage that differ from the stage's."""

    blocks: tuple[int, ...] = key(
        indexes(), "The blocks, counted from 0 over the whole encoder, as in 'blocks.7'.", example=[3, 4]
    )
    window_size: Size | None = key(
        optional(size(whole(0, MAX_SIDE))), "Their window, as in the stage.", example=7, default=None
    )
    num_windows_side: Size | None = key(
        optional(size(whole(1, MAX_SIDE))),
        "Windows that the grid is cut into for them, as in the stage.",
        example=4,
        default=None,
    )
    num_heads: int | None = key(optional(WIDTH), "Their attention heads.", example=8, default=None)
    mlp_ratio: float | None = key(
        optional(number(0, 1024)), "Hidden width of their MLP over embed_dim.", example=2.0, default=None
    )

    @property
    def placement(self) -> Placement | None:
        """Where its blocks attend; None: as in the stage."""
        window, count = self.window_size, self.num_windows_side
        return None if window is count is None else placement_of(window or NO_WINDOW, count)

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that replace those of the stage."""
        settings = {key: value for key, value in vars(self).items() if key != "blocks" and value is not None}
        return settings if self.placement is None else settings | self.placement.keys

    @property
    def unplaced(self) -> OverrideConfig:
        """Without where its blocks attend."""
        return replace(self, window_size=None, num_windows_side=None)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Consecutive transformer blocks of one shape."""

    block: str = key(
        lambda: choice(*BLOCKS), lambda: f"Kind of block. {summaries(BLOCKS)}", example="vit", default="vit"
    )
    embed_dim: int = key(WIDTH, "Width of the token stream, in channels.", example=768)
    depth: int = key(whole(1, MAX_DEPTH), "Number of transformer blocks.", example=12)
    num_heads: int = key(WIDTH, "Attention heads; they must divide embed_dim.", example=12)
    num_kv_heads: int | None = key(
        optional(WIDTH),
        "Heads of keys and values, each for a group of num_heads, as in EXAONE 4.5; they must divide num_heads. By default each "
        "head has its own.",
        example=8,
        default=None,
    )
    mlp_ratio: float = key(
        number(0, 1024), "Hidden width of the MLP over embed_dim.", example=4.0, default=4.0
    )
    qkv_bias: bool = key(FLAG, "Whether the qkv projection has a bias.", example=True, default=True)
    mlp: str = key(
        choice("gelu", "gelu_tanh", "swiglu", "swiglu_packed"),
        "The MLP. gelu: linear, GELU, linear. gelu_tanh: with GELU's approximation by tanh, as in SigLIP. swiglu: SiLU of one "
        "linear layer gates another, as in DINOv3. swiglu_packed: the two are one layer, as in DINOv2's giant; mlp_ratio is "
        "of one of them.",
        example="swiglu",
        default="gelu",
    )
    layer_scale: bool = key(
        FLAG,
        "Whether a learned vector scales what attention and MLP add to the tokens (LayerScale), as in DINOv2 and DeiT III.",
        example=True,
        default=False,
    )
    zeroed_key_bias: bool = key(
        FLAG,
        "Whether keys have a bias too, which each forward sets to zero, as in torchvision's Swin V2.",
        example=True,
        default=False,
    )
    rel_pos: str = key(
        choice("none", "decomposed", "joint"),
        "Relative positions: decomposed adds a table per axis, (2h-1)+(2w-1) entries per head channel, as SAM and "
        "ViTDet do; joint is the full table of (2h-1)(2w-1) entries.",
        example="decomposed",
        default="none",
    )
    rel_pos_grid: Size | None = key(
        optional(pair(whole(1, MAX_SIDE))),
        "Grid in tokens that the relative-position tables of global blocks are made for: a number, or [height, width]. For "
        "another grid they are resized in each forward, as in ViTDet and SAM. By default it is the grid.",
        example=64,
        default=None,
    )
    window_size: Size = key(
        size(whole(0, MAX_SIDE)),
        "Attention window in tokens: a number, [height, width], or [frames, height, width]. 0: every block is global.",
        example=14,
        default=NO_WINDOW,
    )
    num_windows_side: Size | None = key(
        optional(size(whole(1, MAX_SIDE))),
        "In place of window_size: windows along each side of the grid, whatever its size: a number, or [down, across], "
        "which must divide the grid. 4 cuts it into 4x4 windows: num_windows 16 of LW-DETR, 4 of RF-DETR. 1: every block "
        "is global.",
        example=4,
        default=None,
    )
    global_attn_indexes: tuple[int, ...] = key(
        indexes(),
        "Blocks that attend over the whole grid in place of windows, counted from 0 over the whole encoder, as in "
        "'blocks.7'.",
        example=[2, 5, 8, 11],
        default=(),
    )
    residual_block_indexes: tuple[int, ...] = key(
        indexes(),
        "Blocks with a convolutional residual block after them, which mixes tokens of neighbouring windows; counted "
        "from 0 over the whole encoder, as in 'blocks.7'.",
        example=[2, 5, 8, 11],
        default=(),
    )
    shift_size: Size | None = key(
        optional(size(whole(0, MAX_SIDE))),
        "Cyclic shift of the windows of every other block, from the second on: a number, or one for each axis. By default "
        "half a window for Swin's blocks, and no shift for others.",
        example=3,
        default=None,
    )
    q_stride: int = key(
        whole(1, MAX_SIDE),
        "Stride with which the first block of the stage pools its queries, and thus the grid. 1: no pooling.",
        example=2,
        default=1,
    )
    adapter_ratio: float = key(
        number(0, 1024), "Hidden width of the adapters over embed_dim.", example=0.25, default=0.25
    )
    depth_slices: int = key(
        whole(0, MAX_SIDE),
        "Slices of a volume over which a second attention runs; the batch is the slices of all volumes. 0: images.",
        example=96,
        default=0,
    )
    compress_ratio: int = key(
        WIDTH,
        "How many times narrower the channels between the two convolutions of HAT's blocks are.",
        example=3,
        default=3,
    )
    squeeze_factor: int = key(
        WIDTH,
        "How many times narrower the channel attention of HAT's blocks is in its middle.",
        example=30,
        default=30,
    )
    overlap_ratio: float = key(
        number(0, 1024),
        "How much larger the windows of keys and values are than those of queries, over the window: 0.5 makes 24x24 of 16x16.",
        example=0.5,
        default=0.5,
    )
    lora_rank: int = key(
        WIDTH,
        "Rank of the terms added to queries and values: A is rank x embed_dim, B is embed_dim x rank.",
        example=4,
        default=4,
    )
    transition: str = key(
        lambda: choice(NONE, *TRANSITIONS),
        lambda: f"What leads into the stage from the one before. none: nothing. {summaries(TRANSITIONS)}",
        example=NONE,
        default=NONE,
    )
    overrides: tuple[OverrideConfig, ...] = key(
        many(OverrideConfig, 0, MAX_DEPTH),
        "Settings of some of the blocks that differ from the stage: window, heads, width of the MLP.",
        example=[{"blocks": [3], "window_size": 7}],
        default=(),
    )

    def at(self, index: int) -> StageConfig:
        """The settings of one block: the stage's, replaced by those of its overrides."""
        if not self.overrides:
            return self._shared
        own = {
            key: value
            for override in self.overrides
            if index in override.blocks
            for key, value in override.changes.items()
        }
        return replace(self._shared, **own) if own else self._shared

    @cached_property
    def _shared(self) -> StageConfig:
        """The settings that all blocks of the stage share."""
        return replace(self, overrides=(), global_attn_indexes=(), residual_block_indexes=())

    @cached_property
    def placement(self) -> Placement:
        """Where its blocks attend, if it does not name them global; the shift aside, which not all of them have."""
        return placement_of(self.window_size, self.num_windows_side, pads=BLOCKS[self.block].pads)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Its own, and those that its overrides give some of its blocks."""
        others = (override.placement for override in self.overrides)
        return self.placement, *(placement for placement in others if placement is not None)

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP, rounded down as in SAM's code."""
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def adapter_dim(self) -> int:
        """Hidden width of an adapter, rounded down as in Medical SAM Adapter's code."""
        return int(self.embed_dim * self.adapter_ratio)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How the encoder is run."""

    batch_size: int = key(whole(1, MAX_BATCH), "Images in a forward pass.", example=1, default=1)
    dtype: str = key(
        choice(*ITEM_BYTES, also=DTYPE_NAMES),
        "Dtype of the weights, and of all activations if autocast is none.",
        example="bfloat16",
        default="float32",
        instead={"tf32": "TF32 is a way to compute float32 products: set run.tf32=true"},
    )
    autocast: str = key(
        choice("none", *HALVES, also={name: of for name, of in DTYPE_NAMES.items() if of in HALVES}),
        "torch.autocast on CUDA: products in this type, norms and softmax in float32; weights stay float32.",
        example="bfloat16",
        default="none",
    )
    attention: str = key(
        choice("eager", "sdpa", "fused"),
        "Attention kernel: eager makes the score matrix, as SAM's code does; sdpa is torch's "
        "scaled_dot_product_attention with the relative positions as its mask; fused folds decomposed relative "
        "positions into longer queries and keys and never forms the score matrix.",
        example="fused",
        default="eager",
        instead=dict.fromkeys(
            ("flash", "mem", "efficient", "cudnn", "xformers", "scaled"),
            "use sdpa: torch's scaled_dot_product_attention, which runs its flash kernel where it can",
        ),
    )
    mode: str = key(
        choice("inference", "training", also={"train": "training", "eval": "inference"}),
        "Whether memory and time are those of an inference forward or of a training step.",
        example="training",
        default="inference",
    )
    optimizer: str = key(
        choice("adamw", "sgd_momentum", "sgd"),
        "Optimizer of a training step, with torch.optim's defaults; it keeps two, one or no buffers for each weight.",
        example="sgd",
        default="adamw",
    )
    trains: str = key(
        parsed(
            parse_trains,
            "all, adapters, or names of parts such as neck,blocks.24-31",
            TEXT,
            texts(1, MAX_DEPTH),
            words=("all", "adapters", "neck"),
        ),
        "Weights that a training step changes: all; adapters, those that adapt a frozen encoder; or names of parts as in "
        "reports, blocks with their numbers: [neck, blocks.24-31, pos_embed]. All other weights are frozen.",
        example="neck,blocks.24-31",
        default="all",
    )
    checkpointing: Checkpointing = key(
        parsed(
            parse_checkpointing,
            f"true, false, {SOME_BLOCKS}, or a list of blocks such as [2, 5]",
            FLAG,
            TEXT,
            listed(union(whole(0, MAX_DEPTH), TEXT), 0, MAX_DEPTH),
            words=("true", "false", "all", "none", "global", "window", "every 2nd"),
        ),
        "Blocks of which a training step keeps only the input, and runs the forward again in backward: true or all; false or "
        "none; global or window, those that attend so; every 2nd; or names of blocks: [2, 5], or blocks.2,blocks.5-7.",
        example="global",
        default=False,
    )
    step: str = key(
        choice("first", "later"),
        "Which training step is meant: later ones, in which the optimizer has its state already, or the first, which makes "
        "it while the gradients live.",
        example="first",
        default="later",
    )
    zero_grad: str = key(
        choice("before_forward", "after_forward", "after_step"),
        "When a training step frees the gradients of the step before (zero_grad with set_to_none): before its forward, after "
        "it, or as soon as the optimizer has stepped.",
        example="after_forward",
        default="before_forward",
    )
    accumulate: int = key(
        whole(1, MAX_BATCH),
        "Forwards and backwards of batch_size images in a training step, whose gradients are summed (gradient accumulation).",
        example=4,
        default=1,
    )
    parallel: str = key(
        choice("none", "ddp", "fsdp2", "zero1", "zero2", "zero3"),
        "How a training step is spread over GPUs; memory is that of one of them, of rank 0. ddp: torch's "
        "DistributedDataParallel, with its default buckets of 25 MiB. fsdp2: torch's fully_shard of each block and of the "
        "encoder. zero1: ddp with a ZeroRedundancyOptimizer. zero2, zero3: fsdp2 with reshard_after_forward false and true. "
        "What NCCL takes does not count.",
        example="fsdp2",
        default="none",
        instead={
            "fsdp": "use fsdp2, torch's fully_shard",
            "data": "use ddp",
            "hsdp": "use fsdp2",
            "deepspeed": "use zero1, zero2 or zero3, in torch's forms",
        },
    )
    gpus: int = key(
        whole(1, MAX_GPUS),
        "GPUs that a training step is spread over, one process (rank) on each. All parallel words but ddp need it.",
        example=8,
        default=1,
    )
    reshard_after_forward: bool | int = key(
        flag_or_whole(1, MAX_GPUS),
        "Whether FSDP2 frees the gathered weights of a block after its forward and gathers them again in the backward. A "
        "number: it keeps a share of them, spread over so many GPUs, which must divide gpus. The weights outside of blocks "
        "stay, as torch has it by default.",
        example=False,
        default=True,
    )
    param_dtype: str = key(
        choice("none", *ITEM_BYTES, also=DTYPE_NAMES),
        "Type in which FSDP2 gathers weights, and so of all activations (MixedPrecisionPolicy); the shards stay in dtype. "
        "none: dtype.",
        example="bfloat16",
        default="none",
    )
    reduce_dtype: str = key(
        choice("none", *ITEM_BYTES, also=DTYPE_NAMES),
        "Type in which FSDP2 reduces gradients (MixedPrecisionPolicy). none: that of the shards; before torch 2.15 that in which "
        "gradients are computed.",
        example="float32",
        default="none",
    )
    cpu_offload: bool = key(
        FLAG,
        "Whether FSDP2 keeps shards of weights and gradients, and so the optimizer's state, in the host's memory "
        "(CPUOffloadPolicy).",
        example=True,
        default=False,
    )
    gradient_as_bucket_view: bool = key(
        FLAG,
        "Whether the gradients are views of DDP's buckets, which saves a copy of them.",
        example=True,
        default=False,
    )
    grad_scaler: bool = key(
        FLAG,
        "Whether a training step under autocast has torch.amp.GradScaler, which scales the loss and unscales the gradients.",
        example=True,
        default=False,
    )
    ema: bool = key(
        FLAG,
        "Whether a training step updates a moving average of the weights (torch.optim.swa_utils.AveragedModel), a copy "
        "of the model.",
        example=True,
        default=False,
    )
    grad: bool = key(
        FLAG,
        "Whether an inference forward runs without torch.no_grad, so that what autograd saves stays until its end.",
        example=True,
        default=False,
    )
    allocator: str = key(
        parsed(parse_settings, "settings as in PYTORCH_CUDA_ALLOC_CONF, such as max_split_size_mb:128", TEXT),
        "Settings of torch's CUDA caching allocator, as PYTORCH_CUDA_ALLOC_CONF has them: expandable_segments, max_split_size_mb and "
        "roundup_power2_divisions; garbage_collection_threshold has no effect here. A dry or real run has them too.",
        example="max_split_size_mb:128",
        default="",
    )
    torch: str = key(
        parsed(parse_torch, f"a version of torch, {TORCH_RANGE}", number(0, 100), TEXT, words=known()),
        f"Version of torch, {TORCH_RANGE}: it decides which kernels of attention run, the workspaces of cuBLAS and cuBLASLt, and "
        "which gradients autograd copies where the output of a linear layer is changed in place (Swin V2's bias, LoRA; before 2.15). "
        "All other rules of memory are those of 2.14 and 2.15.",
        example="2.13",
        default=words(DEFAULT),
    )
    tf32: bool = key(
        FLAG, "Whether float32 products may use TF32 units; changes time only.", example=True, default=False
    )

    @property
    def torch_version(self) -> TorchVersion:
        """The version of torch, as numbers that compare."""
        return version_of(self.torch) or DEFAULT

    @property
    def passes_before(self) -> int:
        """Passes before the one that is meant: a later step has the optimizer's state, and DDP's rebuilt buckets."""
        if self.mode == "training" and self.step == "first":
            return 0
        return 2 if self.is_ddp else 1

    @property
    def is_ddp(self) -> bool:
        """Whether it is a training step of DistributedDataParallel, with any optimizer."""
        return self.mode == "training" and self.parallel in {"ddp", "zero1"}

    @property
    def has_views(self) -> bool:
        """Whether gradients are views of DDP's buckets."""
        return self.is_ddp and self.gradient_as_bucket_view

    @property
    def is_zero1(self) -> bool:
        """Whether the optimizer of a training step is a ZeroRedundancyOptimizer."""
        return self.mode == "training" and self.parallel == "zero1"

    @property
    def is_fsdp(self) -> bool:
        """Whether it is a training step of FSDP2, with shards of weights, gradients and optimizer state on each GPU."""
        return self.mode == "training" and self.parallel in OF_FSDP

    @property
    def is_offloaded(self) -> bool:
        """Whether FSDP2 keeps its shards in the host's memory."""
        return self.is_fsdp and self.cpu_offload

    @property
    def reshards(self) -> bool | int:
        """Whether FSDP2 frees gathered weights of blocks after their forward; or over how many GPUs it keeps them."""
        if self.parallel == "fsdp2":
            number = self.reshard_after_forward
            is_whole = number is True or number == self.gpus
            return is_whole or (False if number in {False, 1} else number)
        return self.parallel == "zero3"

    @property
    def computes_in(self) -> str:
        """Type of the weights that operations read, and of activations: that of FSDP2's policy, or that of the weights."""
        return self.dtype if not self.is_fsdp or self.param_dtype == "none" else self.param_dtype

    @property
    def reduces_in(self) -> str:
        """Type in which FSDP2 reduces gradients."""
        if self.reduce_dtype != "none":
            return self.reduce_dtype
        return self.dtype if self.torch_version >= FSDP_REDUCES_AS_SHARDS_SINCE else self.computes_in

    @property
    def keeps_graph(self) -> bool:
        """Whether it is an inference forward in which autograd is on."""
        return self.mode == "inference" and self.grad

    @property
    def product_dtype(self) -> str:
        """Type of matrix products and convolutions."""
        return self.computes_in if self.autocast == "none" else self.autocast


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A vision encoder: patch embedding, position embedding, stages of blocks, neck."""

    # load_config checks the values; the constructor does not.

    name: str = key(TEXT, "Its name; by default the name of the file.", example="my_vit", default="encoder")
    description: str = key(TEXT, "One line for `samattn configs`.", example="SAM ViT-H", default="")
    image_size: Size = key(
        size(whole(1, MAX_SIDE)),
        "Input in pixels: a number, or [height, width]; of a video or a volume [frames, height, width].",
        example=1024,
    )
    in_chans: int = key(WIDTH, "Channels of the input.", example=3, default=3)
    patch_size: Any = key(
        side_or_sides(whole(1, MAX_SIDE)),
        "Side of the patch along each axis; also the stride. Of a video or a volume it may be [frames, height, width].",
        example=16,
    )
    patch_embed: str = key(
        lambda: choice(*PATCH_EMBEDS),
        lambda: f"How the image becomes tokens. {summaries(PATCH_EMBEDS)}",
        example="patch",
        default="patch",
    )
    pos_embed: str = key(
        lambda: choice(NONE, *POS_EMBEDS),
        lambda: f"Absolute positions. none: no positions. {summaries(POS_EMBEDS)}",
        example="learned",
        default="learned",
    )
    mask_ratio: float = key(
        share(),
        "Share of the patches that pos_embed mae masks, or of the mask units that mask_units_mae drops.",
        example=0.75,
        default=0.0,
    )
    pretrain_image_size: Size | None = key(
        optional(pair(whole(1, MAX_SIDE))),
        "Image size of pretraining, for absolute positions with a grid of their own; by default image_size.",
        example=336,
        default=None,
    )
    class_token: bool = key(
        FLAG, "Whether there is a class token in front of the patches.", example=False, default=True
    )
    reg_tokens: int = key(
        whole(0, MAX_WIDTH),
        "Register tokens, after the class token and in front of the patches. DINOv2 with registers has 4.",
        example=4,
        default=0,
    )
    pos_embed_background: Size = key(
        pair(whole(1, MAX_SIDE)),
        "Tokens of the background that pos_embed hiera or mask_units_window resizes to the grid: a number, or [height, width].",
        example=7,
        default=(14, 14),
    )
    pos_embed_window: Size = key(
        pair(whole(1, MAX_SIDE)),
        "Tokens of the window that pos_embed hiera or mask_units_window repeats over the grid: a number, or [height, width].",
        example=8,
        default=(8, 8),
    )
    pre_norm: bool = key(FLAG, "Whether there is a LayerNorm before the blocks.", example=True, default=False)
    norm: bool = key(FLAG, "Whether there is a LayerNorm after the blocks.", example=True, default=False)
    neck: str = key(
        lambda: choice(NONE, *NECKS),
        lambda: f"What comes after the blocks. none: nothing. {summaries(NECKS)}",
        example="sam",
        default=NONE,
    )
    out_chans: int = key(WIDTH, "Output channels of the neck.", example=256, default=256)
    neck_scales: tuple[float, ...] = key(
        listed(number(0, 4), 1, 3),
        "Scales of the maps that neck lw_detr returns, over the grid, in order: 2, 1 or 0.5.",
        example=[2.0, 0.5],
        default=(1.0,),
    )
    out_indices: tuple[int, ...] = key(
        indexes(),
        "Stages whose outputs neck stage_norms or swin_backbone returns, counted from 0; by default all. Necks of RF-DETR and LW-DETR: "
        "blocks whose outputs they read, by default the last.",
        example=[1, 2, 3],
        default=(),
    )
    upscale: int = key(
        whole(1, MAX_UPSCALE),
        "How many times as high and wide the restored image is. 1: denoising.",
        example=4,
        default=1,
    )
    resi_connection: str = key(
        choice("1conv", "3conv"),
        "What ends a residual group: 1conv is a 3x3 convolution; 3conv is a 3x3, a 1x1 and a 3x3 one over a quarter of the width, "
        "as in SwinIR's large model.",
        example="3conv",
        default="1conv",
    )
    stages: tuple[StageConfig, ...] = key(
        lambda: many(StageConfig, 1, MAX_STAGES),
        "Stages of blocks. The keys of a single stage may be at the top level instead.",
        example=[{"embed_dim": 768, "depth": 12, "num_heads": 12}],
    )
    implementation: str = key(
        choice(*LIBRARIES),
        "Whose code runs. reference: that of the model's authors, such as segment-anything's. transformers, timm: the "
        "library's, with the same weights, and other memory.",
        example="transformers",
        default=REFERENCE,
        instead={"hugging": "use transformers", "hf": "use transformers", "official": "use reference"},
    )
    run: RunConfig = key(
        RunConfig, "How the encoder is run.", example={"dtype": "bfloat16"}, default=RunConfig()
    )

    @cached_property
    def grid(self) -> Size:
        """All patches along each axis. A remainder of the image that is smaller than a patch is dropped."""
        return PATCH_EMBEDS[self.patch_embed].grid(self.padded_size, self.patch_size)

    @property
    def padded_size(self) -> Size:
        """The image with its padding, in pixels along each axis, if the patch embedding pads it to whole windows."""
        multiple = PATCH_EMBEDS[self.patch_embed].multiple(self)
        sides = zip(self.image_size, multiple, strict=True)
        return tuple([side if step == 1 else -(-side // step) * step for side, step in sides])

    @property
    def whole_side(self) -> int:
        """Pixels of which height and width are a multiple if they are neither cut nor padded.

        They are those of a patch, or of a window if images are padded.
        """
        return lcm(self.patch[-1], *PATCH_EMBEDS[self.patch_embed].multiple(self))

    @property
    def dropped(self) -> Size:
        """Pixels along each axis that are in no patch."""
        sides = zip(self.image_size, self.grid, self.patch, strict=True)
        return tuple([max(side - patches * patch, 0) for side, patches, patch in sides])

    @property
    def patch(self) -> Size:
        """The sides of a patch along each axis of the image."""
        return sides_of(self.patch_size, len(self.image_size))

    @property
    def pretrain_grid(self) -> Size:
        """Patches along each axis of the pretraining images."""
        size = self.pretrain_image_size or self.image_size
        return PATCH_EMBEDS[self.patch_embed].grid(size, self.patch_size)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the encoder's input, such as (B, in_chans, height, width)."""
        return PATCH_EMBEDS[self.patch_embed].input_shape(self)

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """The parts and blocks in the order that they run in, those of one kind together."""
        return tuple(stretches_of(self))

    @cached_property
    def plan(self) -> tuple[PartConfig | LayerConfig, ...]:
        """The parts and blocks in the order that they run in."""
        return tuple([part for stretch in self.stretches for part in stretch.parts])

    @cached_property
    def layers(self) -> tuple[LayerConfig, ...]:
        """The blocks in order."""
        return tuple(part for part in self.plan if isinstance(part, LayerConfig))

    def layers_that(self, hold: Callable[[LayerConfig], bool]) -> tuple[LayerConfig, ...]:
        """The blocks of which something holds; it depends on nothing but their stage and kind, and is asked once for equal neighbours."""
        found: list[PartConfig | LayerConfig] = []
        for stretch in self.stretches:
            if isinstance(stretch.first, LayerConfig) and hold(stretch.first):
                found += stretch.parts
        return tuple(cast("list[LayerConfig]", found))

    @cached_property
    def kinds(self) -> tuple[LayerConfig, ...]:
        """The first block of each kind in each stage."""
        found: dict[tuple[int, int], LayerConfig] = {}
        for stretch in self.stretches:
            first = stretch.first
            if isinstance(first, LayerConfig):
                found.setdefault((first.stage_index, id(first.kind)), first)
        return tuple(found.values())

    @cached_property
    def trained(self) -> frozenset[str]:
        """The names of the parts and blocks whose weights a training step changes; without adapters in frozen blocks."""
        return trained_parts(self.run.trains, [part.name for part in self.plan])

    @cached_property
    def unread(self) -> frozenset[str]:
        """The names of the blocks that run and whose outputs nothing reads: a training step gives them no gradient."""
        return frozenset() if self.neck == NONE else frozenset(NECKS[self.neck].unread(self))

    @cached_property
    def checkpointed(self) -> frozenset[str]:
        """The names of the blocks of which a training step keeps only the input."""
        return checkpointed(self)

    @cached_property
    def checkpointed_stages(self) -> tuple[tuple[str, ...], ...]:
        """The names of the parts of each stage of which a training step keeps only the input."""
        return checkpointed_stages(self)

    @cached_property
    def has_modes(self) -> bool:
        """Whether its code differs in training mode, as that of batch norms does."""
        words: list[tuple[Mapping[str, Any], str]] = [
            (PATCH_EMBEDS, self.patch_embed),
            (POS_EMBEDS, self.pos_embed),
            (NECKS, self.neck),
            *((BLOCKS, stage.block) for stage in self.stages),
            *((TRANSITIONS, stage.transition) for stage in self.stages),
        ]
        return any(known[word].has_modes for known, word in words if word != NONE)

    @property
    def has_windows(self) -> bool:
        """Whether a block of it has a window, if it is not named global."""
        return any(placement.is_windowed for stage in self.stages for placement in stage.placements)

    def all_global(self) -> EncoderConfig:
        """The same encoder with every block global."""
        return placed(self, range(sum(stage.depth for stage in self.stages)))

    def all_windowed(self) -> EncoderConfig:
        """The same encoder with every block windowed. Blocks without a window stay global."""
        return placed(self, ())
