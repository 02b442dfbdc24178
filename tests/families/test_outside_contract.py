"""The example of a family from outside is put through the contract of families, against the paper's formulas."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samattn_cli import EncoderConfig, add_family, load_config
from samattn_cli.encoder.registry import homes, set_homes
from tests.families.contract import Contract
from tests.public.counting import counted
from tests.public.record import Record
from tests.support.running import ROOT

FOLDER = ROOT / "examples" / "families"
TALKING, CONFIG = FOLDER / "talking_heads.py", FOLDER / "talking_heads.yaml"


class Attention(nn.Module):
    """Talking-heads attention as arXiv:2003.02436 writes it, in einsums; names are CaiT's."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)
        self.proj_l, self.proj_w = nn.Linear(heads, heads), nn.Linear(heads, heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # (B, N, h, d) each
        logits = torch.einsum("bnhd,bmhd->bhnm", q, k) / q.shape[-1] ** 0.5
        weights = self._talk(self.proj_w, self._talk(self.proj_l, logits).softmax(-1))
        return self.proj(torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2))

    def _talk(self, heads: nn.Linear, scores: Tensor) -> Tensor:
        return torch.einsum("bhnm,gh->bgnm", scores, heads.weight) + heads.bias[:, None, None]


class Block(nn.Module):
    """Pre-norm; windows over a grid padded with zeros."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        (stage,) = config.stages
        dim = stage.embed_dim
        self.window = None if index in stage.global_attn_indexes else stage.window_size
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, stage.num_heads, qkv_bias=stage.qkv_bias)
        layers = {
            "lin1": nn.Linear(dim, stage.mlp_dim),
            "act": nn.GELU(),
            "lin2": nn.Linear(stage.mlp_dim, dim),
        }
        self.mlp = nn.Sequential()
        for name, layer in layers.items():
            self.mlp.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        h, w = self.window or (H, W)
        padded = F.pad(x, (0, 0, 0, -W % w, 0, -H % h))
        rows, columns = padded.shape[1] // h, padded.shape[2] // w
        # (B, rows * h, columns * w, C) -> (B * rows * columns, h * w, C), and back
        windows = padded.view(B, rows, h, columns, w, C).transpose(2, 3).reshape(-1, h * w, C)
        mixed = self.attn(windows).view(B, rows, columns, h, w, C).transpose(2, 3)
        return mixed.reshape(B, rows * h, columns * w, C)[:, :H, :W]


class Encoder(nn.Module):
    """Patches, learned positions, blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim, patch = config.stages[0].embed_dim, config.patch_size
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(config.in_chans, dim, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, *config.grid, dim))
        self.blocks = nn.Sequential(*(Block(config, index) for index in range(config.stages[0].depth)))

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        return self.blocks(self.patch_embed["proj"](image).permute(0, 2, 3, 1) + self.pos_embed)


def count(preset: str) -> tuple[int, int]:
    config = load_config(preset)
    with torch.device("meta"):
        return counted(Encoder(config), torch.empty(config.input_shape))


class TestTalkingHeads(Contract):
    records: ClassVar[tuple[Record, ...]] = (
        Record(
            name="talking heads",
            blocks=("talking_vit",),
            presets=(str(CONFIG),),
            count=count,
            small={
                "image_size": [48, 80], "patch_size": 16, "block": "talking_vit", "embed_dim": 24, "depth": 3,
                "num_heads": 3, "window_size": 2, "global_attn_indexes": [1],
            },
            public=lambda config: Encoder(config).eval(),
            values={"padded windows": {}, "no bias": {"qkv_bias": False, "run.batch_size": 2, "num_heads": 4}},
            folded={"bfloat16": {"run.dtype": "bfloat16", "depth": 5}},
            in_full={"autocast": {"run.autocast": "bfloat16", "run.batch_size": 2}},
            verified={str(CONFIG): {"image_size": 96, "run.checkpointing": True}},
            bad={
                "a kernel that keeps its scores": ({"run": {"attention": "sdpa"}}, "[kernel-not-modelled] sdpa talking_vit eager"),
                "a key that only other blocks read": ({"rel_pos": "decomposed"}, "[unused-key] talking_vit rel_pos"),
            },
        ),
    )  # fmt: skip

    @pytest.fixture(autouse=True)
    def _family(self):
        before = homes()
        add_family(TALKING)
        yield
        set_homes(before)
