"""EVA-02's detection backbone with ViTDet's pyramid, which is written again here with the weights of baaivision/EVA.

Its code needs detectron2, which cannot be installed next to torch 2.13. So the blocks are written with torch's functions on
weights with its names (EVA-02/det/detectron2/modeling/backbone/vit.py, utils.py): rotations are products of complex numbers. The
file shares no code with samattn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.model import StageConfig
from tests.public.counting import counted
from tests.public.record import Record
from tests.public.vitdet import pyramid, pyramid_shapes

PRESETS = ("eva02_b_det", "eva02_l_det", "eva02_b_det_1536", "eva02_l_det_1536")
PRETRAINED, THETA = 16, 10_000.0


class Public(nn.Module):
    """The backbone, then the pyramid if a config has it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        (stage,), patch = config.stages, config.patch_size
        C, tokens = stage.embed_dim, 1 + config.pretrain_grid[0] * config.pretrain_grid[1]
        self.pretrained = config.pretrain_grid
        self.patch_embed = nn.Conv2d(config.in_chans, C, patch, stride=patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, C))
        window = stage.window_size[0]
        self.blocks = nn.ModuleList(
            EvaBlock(stage, 0 if at in stage.global_attn_indexes else window) for at in range(stage.depth)
        )
        shapes = pyramid_shapes(C, config.out_chans) if config.neck == "simple_fpn" else {}
        self.names = tuple(shapes)
        self.weights = nn.ParameterList(torch.zeros(shape) for shape in shapes.values())

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, 3, height, width) -> (B, C, H, W), or the maps of the pyramid."""
        x = self.patch_embed(image)
        positions = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, self.pretrained)
        if x.shape[2:] != self.pretrained:
            positions = F.interpolate(positions, size=x.shape[2:], mode="bicubic")
        x = (x + positions).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)
        return pyramid(x, dict(zip(self.names, self.weights, strict=True))) if self.names else x


class EvaBlock(nn.Module):
    """Attention in windows of a side, or over the grid if that is 0; then the MLP."""

    def __init__(self, stage: StageConfig, window: int) -> None:
        super().__init__()
        C, hidden = stage.embed_dim, stage.mlp_dim
        self.heads, self.window = stage.num_heads, window
        self.norm1, self.norm2 = nn.LayerNorm(C, eps=1e-6), nn.LayerNorm(C, eps=1e-6)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(C, C, bias=False) for _ in range(3))
        self.q_bias = nn.Parameter(torch.zeros(C)) if stage.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(C)) if stage.qkv_bias else None
        self.proj = nn.Linear(C, C)
        self.w1, self.w2, self.w3 = nn.Linear(C, hidden), nn.Linear(C, hidden), nn.Linear(hidden, C)
        self.ffn_ln = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self.in_windows(self.norm1(x))
        y = self.norm2(x)
        return x + self.w3(self.ffn_ln(F.silu(self.w1(y)) * self.w2(y)))

    def in_windows(self, x: Tensor) -> Tensor:
        """Attention of the padded windows: (B, H, W, C) -> the same."""
        (B, H, W, C), side = x.shape, self.window
        if not side:
            return self.attend(x.flatten(1, 2), (H, W)).view(B, H, W, C)
        x = F.pad(x, (0, 0, 0, -W % side, 0, -H % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        windows = x.unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3)
        out = self.attend(windows.reshape(-1, side * side, C), (side, side))
        out = out.view(B, rows, columns, side, side, C).transpose(2, 3)
        return out.reshape(B, rows * side, columns * side, C)[:, :H, :W]

    def attend(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, C) -> the same."""
        q, k, v = (
            F.linear(x, layer.weight, bias).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, bias in ((self.q_proj, self.q_bias), (self.k_proj, None), (self.v_proj, self.v_bias))
        )
        turns = rotations(grid, q.shape[-1], x.device)
        out = F.scaled_dot_product_attention(turned(q, turns), turned(k, turns), v)
        return self.proj(out.transpose(1, 2).flatten(2))


def rotations(grid: tuple[int, int], d: int, device: torch.device) -> Tensor:
    """Complex numbers of length 1, those of rows first: (N, d / 2)."""
    frequencies = THETA ** -(torch.arange(0, d // 2, 2, device=device) / (d // 2))
    down, across = (torch.arange(side, device=device) * PRETRAINED / side for side in grid)
    rows = torch.outer(down, frequencies)[:, None].expand(*grid, -1)
    columns = torch.outer(across, frequencies)[None].expand(*grid, -1)
    angles = torch.cat((rows, columns), dim=-1).flatten(0, 1)
    return torch.complex(angles.cos(), angles.sin())


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each two channels as a complex number, turned: (B, h, N, d) -> the same."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(Public(config), torch.empty(config.input_shape))


def renamed(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names; those of the pyramid are in the order of its names."""
    pyramids = iter(pyramid_shapes(config.stages[-1].embed_dim, config.out_chans))
    names = {
        r"^pos_embed$": "pos_embed.pos_embed",
        r"^patch_embed\.": "patch_embed.proj.",
        r"(blocks\.\d+)\.(._proj|proj|q_bias|v_bias)": r"\1.attn.\2",
        r"(blocks\.\d+)\.(w.|ffn_ln)": r"\1.mlp.\2",
    }
    result = {}
    for name, weight in theirs.items():
        ours = f"neck.{next(pyramids)}" if name.startswith("weights.") else name
        for old, new in names.items():
            ours = re.sub(old, new, ours)
        result[ours] = weight
    return result


def _outputs(theirs: nn.Module, config: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    made = theirs(image)
    return made if config.neck == "simple_fpn" else (made.permute(0, 2, 3, 1),)


SMALL = {
    "image_size": 96,
    "patch_size": 16,
    "block": "eva02_vit",
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 4,
    "mlp_ratio": 8 / 3,
    "pos_embed": "pretrained",
    "pretrain_image_size": 64,
    "window_size": 4,
    "global_attn_indexes": [1],
}
EVERYTHING = {"image_size": [112, 144], "neck": "simple_fpn", "out_chans": 8, "run.batch_size": 2}
"""A grid of 7x9, padded, positions of 4x4 resized, pyramid of an odd grid."""

RECORDS = (
    Record(
        name="EVA-02 for detection",
        blocks=("eva02_vit",),
        presets=("eva02_b_det",),
        larger=("eva02_l_det",),
        count=count,
        small=SMALL,
        public=Public,
        weights=renamed,
        outputs=_outputs,
        values={
            "padded windows, a pyramid": EVERYTHING,
            "windows that divide the grid, sdpa": {"window_size": 3, "run.attention": "sdpa"},
        },
        folded={"eager, two images": {"run.batch_size": 2}},
        in_full={
            "eager in bfloat16": EVERYTHING | {"run.dtype": "bfloat16"},
            "sdpa, autocast, checkpointed, no biases": EVERYTHING
            | {
                "run.attention": "sdpa",
                "run.autocast": "float16",
                "run.checkpointing": True,
                "qkv_bias": False,
            },
        },
        verified={"eva02_b_det_1536": {"run.attention": "sdpa"}},
        bad={
            "heads of an odd number of pairs": (
                {"embed_dim": 24},
                "[rotary-head-width] num_heads 4 6 24 4",
            ),
            "relative positions": ({"rel_pos": "decomposed"}, "[unused-key] rel_pos"),
        },
    ),
)
