"""Parameters and FLOPs of fine-tuned SAM encoders: those counted on segment-anything's encoder, plus those of adapters.

The encoder is segment-anything's own on the meta device, counted by FlopCounterMode, one image at a time. Medical SAM
Adapter's repository is not a package (it reads its arguments from a command line, and needs einops). So the parameters and
FLOPs of adapters and LoRA are formulas, derived from its models/ImageEncoder/vit/adapter_block.py and models/common/adapter.py,
and from SAMed's sam_lora_image_encoder.py. Norms have no FLOPs here, so it does not matter that windows are cut before norm1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.model import RunConfig, StageConfig
from samattn_cli.families.adapter.words import depth_grid
from tests.public.record import Record
from tests.public.segment_anything_encoder import official, official_encoder

PRESETS = (
    *(f"med_sam_adapter_{size}{depth}" for size in "blh" for depth in ("", "_3d")),
    "sam_vit_b_lora",
)


def count(preset: str) -> tuple[int, int]:
    """(parameters, FLOPs) of a preset."""
    return count_of(load_config(preset))


def count_of(config: EncoderConfig) -> tuple[int, int]:
    """(parameters, FLOPs) of any such encoder with square sizes."""
    params, flops = _of_sam(replace(config, name="", description="", run=RunConfig(), stages=_plain(config)))
    (stage,) = config.stages
    added = _lora if stage.block == "sam_lora" else _adapters
    for index in range(stage.depth):
        padded, tokens = _tokens(config, index)
        more_params, more_flops = added(stage, padded, tokens)
        params, flops = params + more_params, flops + more_flops
    return params, flops * config.run.batch_size


def _plain(config: EncoderConfig) -> tuple[StageConfig, ...]:
    """The stages without what is added, on which nothing of SAM's depends."""
    plain = StageConfig(embed_dim=1, depth=1, num_heads=1)
    keys = ("block", "adapter_ratio", "depth_slices", "lora_rank")
    return tuple(replace(stage, **{key: getattr(plain, key) for key in keys}) for stage in config.stages)


@lru_cache
def _of_sam(config: EncoderConfig) -> tuple[int, int]:
    encoder = official_encoder(config, "meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        encoder(torch.empty(1, config.in_chans, *config.image_size))
    return sum(weight.numel() for weight in encoder.parameters()), counter.get_total_flops()


def _tokens(config: EncoderConfig, index: int) -> tuple[int, int]:
    """Tokens of a block's attention, padding included, and of its MLP."""
    (stage,), side = config.stages, config.image_size[0] // config.patch_size
    window = side if index in stage.global_attn_indexes else stage.window_size[0] or side
    return (math.ceil(side / window) * window) ** 2, side**2


def _adapters(stage: StageConfig, padded: int, tokens: int) -> tuple[int, int]:
    """Three adapters, all there always; those of attention and MLP are run, that of depth in 3-D alone."""
    C, slices = stage.embed_dim, stage.depth_slices
    hidden = int(C * stage.adapter_ratio)
    params = 3 * (2 * C * hidden + hidden + C)
    one = 4 * C * hidden  # a token through an adapter: two products
    flops = one * (padded + tokens)
    if slices:
        rows, columns = _closest_numbers(slices)
        positions = 2 * C * (rows + columns) if stage.rel_pos == "decomposed" else 0
        # qkv and proj, both products of attention, relative positions, the adapter
        flops += padded * (8 * C**2 + 4 * slices * C + positions + one)
    return params, flops


def _closest_numbers(target: int) -> tuple[int, int]:
    """The two factors of a depth that their code looks for: neighbours at first, then further apart."""
    low = math.isqrt(target)
    high = low + 1
    while low * high != target:
        if low * high < target:
            high += 1
        else:
            low -= 1
    return low, high


def _lora(stage: StageConfig, padded: int, _tokens: int) -> tuple[int, int]:
    """A and B for queries and for values."""
    params = 4 * stage.embed_dim * stage.lora_rank
    return params, 2 * params * padded


class Adapter(nn.Module):
    """common/adapter.py's bottleneck, without its shortcut."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.D_fc2(F.gelu(self.D_fc1(x)))


class AdaptedBlock(nn.Module):
    """adapter_block.py's block restated, window by window and place by place, with segment-anything's attention."""

    def __init__(self, block: nn.Module, stage: StageConfig) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp
        self.window, self.slices = block.window_size, stage.depth_slices
        hidden = int(stage.embed_dim * stage.adapter_ratio)
        self.MLP_Adapter, self.Space_Adapter, self.Depth_Adapter = (
            Adapter(stage.embed_dim, hidden) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        windows, padded = official.window_partition(x, self.window) if self.window else (x, None)
        attended = self.attn(self.norm1(windows))
        attended = attended + self.Space_Adapter(attended)
        if self.slices:
            attended = attended + self._over_depth(windows)
        if self.window:
            attended = official.window_unpartition(attended, self.window, padded, x.shape[1:3])
        x = x + attended
        normed = self.norm2(x)
        return x + self.mlp(normed) + 0.5 * self.MLP_Adapter(normed)

    def _over_depth(self, windows: Tensor) -> Tensor:
        """Runs of as many windows as a volume has slices, one place in them after the other."""
        made, dim = torch.zeros_like(windows), windows.shape[-1]
        for first in range(0, len(windows), self.slices):
            for row in range(windows.shape[1]):
                for column in range(windows.shape[2]):
                    place = (slice(first, first + self.slices), row, column)
                    normed = self.norm1(windows[place]).view(1, *depth_grid(self.slices), dim)
                    made[place] = self.Depth_Adapter(self.attn(normed)).view(self.slices, dim)
        return made


class LoraQkv(nn.Module):
    """sam_lora_image_encoder.py's projection restated: the weights of queries and values, each with a product added."""

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        dim, self.qkv = qkv.in_features, qkv
        self.linear_a_q, self.linear_a_v = (nn.Linear(dim, rank, bias=False) for _ in "qv")
        self.linear_b_q, self.linear_b_v = (nn.Linear(rank, dim, bias=False) for _ in "qv")

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., 3C)."""
        q, v = (
            self.linear_b_q.weight @ self.linear_a_q.weight,
            self.linear_b_v.weight @ self.linear_a_v.weight,
        )
        return F.linear(x, self.qkv.weight + torch.cat([q, torch.zeros_like(q), v]), self.qkv.bias)


def public_encoder(config: EncoderConfig) -> nn.Module:
    """segment-anything's encoder with what is added to its blocks."""
    encoder, (stage,) = official_encoder(config), config.stages
    for index, block in enumerate(encoder.blocks):
        if stage.block == "sam_lora":
            block.attn.qkv = LoraQkv(block.attn.qkv, stage.lora_rank)
        else:
            encoder.blocks[index] = AdaptedBlock(block, stage)
    return encoder


SMALL = {
    "image_size": 64,
    "patch_size": 16,
    "block": "sam_adapter",
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 4,
    "rel_pos": "decomposed",
    "window_size": 3,
    "global_attn_indexes": [1],
    "neck": "sam",
    "out_chans": 8,
}
VOLUMES = {"depth_slices": 6, "run.batch_size": 12}
LORA = {"block": "sam_lora", "lora_rank": 2}
TWO_BLOCKS = {"depth": 2, "run.trains": "adapters"}
AUTOCAST = {"run.autocast": "bfloat16", "run.attention": "sdpa", "run.checkpointing": True}
FUSED = {"run.attention": "fused", "run.dtype": "bfloat16"}
ALL = {"run.trains": "all"}

RECORDS = (
    Record(
        name="Medical SAM Adapter",
        blocks=("sam_adapter",),
        presets=("med_sam_adapter_b", "med_sam_adapter_b_3d"),
        count=count,
        small=SMALL,
        public=public_encoder,
        values={
            "eager": {},
            "sdpa": {"run.attention": "sdpa"},
            "volumes": VOLUMES,
            "volumes, fused, windows that divide the grid": {
                "depth_slices": 4,
                "window_size": 2,
                "run.batch_size": 4,
                "run.attention": "fused",
            },
        },
        folded={
            "all trains, in autocast, checkpointed": TWO_BLOCKS | ALL | AUTOCAST,
            "volumes, fused": TWO_BLOCKS | VOLUMES | {"window_size": 2} | ALL | FUSED,
        },
        in_full={
            "adapters train": TWO_BLOCKS,
            "a volume in autocast": TWO_BLOCKS
            | {"depth_slices": 4, "run.batch_size": 4, "run.autocast": "bfloat16"}
            | ALL,
            "volumes in autocast": TWO_BLOCKS | VOLUMES | {"run.autocast": "float16"},
            "volumes in autocast, checkpointed": TWO_BLOCKS | VOLUMES | AUTOCAST,
            "volumes, not square, checkpointed": TWO_BLOCKS
            | VOLUMES
            | {"image_size": [48, 80], "run.checkpointing": True}
            | ALL,
        },
        verified={"med_sam_adapter_b": {}},
        bad={
            "a volume in parts": (
                {"depth_slices": 6, "run": {"batch_size": 8}},
                "[not-divisible] depth_slices 6 run.batch_size 8",
            ),
            "a volume of one slice": (
                {"depth_slices": 1},
                "[not-a-volume] depth_slices 1 2 0",
            ),
            "adapters of nothing": (
                {"adapter_ratio": 0.01},
                "[no-channels-left] adapter_ratio 0.01 32",
            ),
            "joint positions": (
                {"rel_pos": "joint"},
                "[rel-pos-not-supported] rel_pos sam_adapter joint",
            ),
            "LoRA's rank": ({"lora_rank": 8}, "[unused-key] sam_adapter lora_rank sam_lora"),
            "no adapters to train": (
                {"block": "vit", "run": {"trains": "adapters"}},
                "[nothing-to-train] run.trains sam_adapter sam_lora",
            ),
        },
    ),
    Record(
        name="SAM with LoRA",
        blocks=("sam_lora",),
        presets=("sam_vit_b_lora",),
        count=count,
        small=SMALL | LORA,
        public=public_encoder,
        values={kernel: {"run.attention": kernel} for kernel in ("eager", "sdpa", "fused")},
        folded={
            "adapters train, in autocast, checkpointed": TWO_BLOCKS | AUTOCAST,
            "no bias, which autograd sees another way": TWO_BLOCKS
            | ALL
            | {"qkv_bias": False, "run.checkpointing": True},
        },
        in_full={
            "adapters train": TWO_BLOCKS,
            "all trains, fused": TWO_BLOCKS | ALL | FUSED,
        },
        verified={"sam_vit_b_lora": {}},
        bad={"a rank of nothing": ({"lora_rank": 0}, "[out-of-range] lora_rank 1 0")},
    ),
)
