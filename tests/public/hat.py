"""HAT, written anew from the weights by the authors' names.

Source of the names and of what is computed: XPixelGroup/HAT, hat/archs/hat_arch.py. Windows are cut by index here; the keys of an
overlapping window are taken from the padded image, pixel by pixel.

The authors' code itself (a clone at 1638a9a, with a stub of basicsr's registry) was run next to samattn on 29 November 2026: five presets
have its parameters and FLOPs, its outputs are equal to the last bit for 2, 3 and 4 times, and each of the 4,316 figures of live memory
in a training step of hat_x4 on meta is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samattn_cli import EncoderConfig, load_config
from tests.public import swinir
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = tuple(f"hat_{size}x{times}" for size in ("", "s_", "l_") for times in (2, 3, 4))
HYBRID = "hybrid_attention"
OVERLAP = "overlap_attn"
Shapes = Iterator[tuple[str, tuple[int, ...]]]


class HAT(swinir.SwinIR):
    """HAT of a config."""

    def shapes(self) -> Shapes:
        """Its weights by the authors' names."""
        return shapes(self.config)

    def forward(self, image: Tensor) -> Tensor:
        """(B, c, height, width) -> the restored image."""
        height, width = image.shape[2:]
        side = self.config.stages[0].window_size[0]
        x = F.pad(image, (0, -width % side, 0, -height % side), mode="reflect")
        mean = torch.tensor(swinir.MEAN, device=image.device).view(1, 3, 1, 1)
        first = self.conv("conv_first", x - mean)
        restored = self.upsample(first + self.conv("conv_after_body", self.deep(first))) + mean
        r = self.config.upscale
        return restored[..., : r * height, : r * width]

    def deep(self, x: Tensor) -> Tensor:
        """All groups: (B, C, H, W) -> the same."""
        tokens = skipped = self.norm("patch_embed.norm", x.movedim(1, -1))
        group = 0
        for number, stage in enumerate(self.config.stages):
            if number and stage.transition != "none":
                tokens = skipped = self.ended(group, tokens, skipped)
                group += 1
            for index in range(stage.depth):
                tokens = self.block(f"layers.{group}.residual_group", tokens, stage, index)
        return self.norm("norm", self.ended(group, tokens, skipped)).movedim(-1, 1)

    def ended(self, group: int, tokens: Tensor, skipped: Tensor) -> Tensor:
        """The convolution of a group, and what entered it."""
        return skipped + self.conv(f"layers.{group}.conv", tokens.movedim(-1, 1)).movedim(1, -1)

    def block(self, name: str, x: Tensor, stage: Any, index: int) -> Tensor:
        """A block of either kind: (B, H, W, C) -> the same."""
        is_hybrid = stage.block == HYBRID
        name = f"{name}.blocks.{index}" if is_hybrid else f"{name}.{OVERLAP}"
        normed = self.norm(f"{name}.norm1", x)
        if is_hybrid:
            x = x + 0.01 * self.channels(f"{name}.conv_block.cab", normed.movedim(-1, 1)).movedim(1, -1)
            x = x + self.attend(f"{name}.attn", normed, stage, index % 2)
        else:
            x = x + self.attend_far(name, normed, stage)
        hidden = F.gelu(F.linear(self.norm(f"{name}.norm2", x), *self.both(f"{name}.mlp.fc1")))
        return x + F.linear(hidden, *self.both(f"{name}.mlp.fc2"))

    def channels(self, name: str, x: Tensor) -> Tensor:
        """Two convolutions and channel attention: (B, C, H, W) -> the same."""
        x = self.conv(f"{name}.2", F.gelu(self.conv(f"{name}.0", x)))
        hidden = self.conv(f"{name}.3.attention.1", x.mean((2, 3), keepdim=True)).relu()
        return x * self.conv(f"{name}.3.attention.3", hidden).sigmoid()

    def attend_far(self, name: str, x: Tensor, stage: Any) -> Tensor:
        """Attention of each window to a larger one around it, of zeros beyond the image: (B, H, W, C) -> the same."""
        (B, H, W, C), heads, (h, w) = x.shape, stage.num_heads, stage.window_size
        down, across = (int(side * stage.overlap_ratio) for side in (h, w))
        q, k, v = F.linear(x, *self.both(f"{name}.qkv")).chunk(3, -1)
        padded = F.pad(torch.cat((k, v), -1), (0, 0, across // 2, across // 2, down // 2, down // 2))
        table = self.bias_far(f"{name}.relative_position_bias_table", (h, w), (h + down, w + across))
        out = torch.empty_like(x)
        for top in range(0, H, h):
            for left in range(0, W, w):
                queries = q[:, top : top + h, left : left + w].reshape(B, h * w, heads, -1).transpose(1, 2)
                around = padded[:, top : top + h + down, left : left + w + across].reshape(
                    B, -1, 2, heads, C // heads
                )
                keys, values = around.unbind(2)
                scores = queries * (C // heads) ** -0.5 @ keys.transpose(1, 2).mT + table
                made = scores.softmax(-1) @ values.transpose(1, 2)
                out[:, top : top + h, left : left + w] = made.transpose(1, 2).reshape(B, h, w, C)
        return F.linear(out, *self.both(f"{name}.proj"))

    def bias_far(self, name: str, size: tuple[int, int], keys: tuple[int, int]) -> Tensor:
        """The bias of each pair of a pixel and one of the larger window: (heads, N, K).

        As in the authors' code, the offset begins at h - K + 1, so that the first rows of the table are counted from its end.
        """
        (h, w), (K, L) = size, keys
        ours = torch.cartesian_prod(torch.arange(h), torch.arange(w))
        far = torch.cartesian_prod(torch.arange(K), torch.arange(L))
        offsets = far - ours[:, None] + torch.tensor([h - K + 1, w - L + 1])
        table: Tensor = getattr(self, name.replace(".", swinir.DOT))
        return table[offsets[..., 0] * (w + L - 1) + offsets[..., 1]].movedim(-1, 0)


def shapes(config: EncoderConfig) -> Shapes:
    """The weights by the authors' names."""
    C, c, group = config.stages[0].embed_dim, config.in_chans, 0
    yield from swinir.both_shapes("conv_first", C, c, 3, 3)
    yield from swinir.both_shapes("patch_embed.norm", C)
    for number, stage in enumerate(config.stages):
        group += bool(number and stage.transition != "none")
        name = f"layers.{group}.residual_group"
        if stage.block == HYBRID:
            for index in range(stage.depth):
                yield from swinir.block_shapes(f"{name}.blocks.{index}", stage)
                yield from _channels(f"{name}.blocks.{index}.conv_block.cab", stage)
        else:
            yield from _overlapping(f"{name}.{OVERLAP}", stage)
            yield from swinir.both_shapes(f"layers.{group}.conv", C, C, 3, 3)
    yield from swinir.both_shapes("norm", C)
    yield from swinir.both_shapes("conv_after_body", C, C, 3, 3)
    yield from swinir.neck_shapes(config, C, "pixelshuffle")


def _channels(name: str, stage: Any) -> Shapes:
    C = stage.embed_dim
    narrow, squeezed = C // stage.compress_ratio, C // stage.squeeze_factor
    yield from swinir.both_shapes(f"{name}.0", narrow, C, 3, 3)
    yield from swinir.both_shapes(f"{name}.2", C, narrow, 3, 3)
    yield from swinir.both_shapes(f"{name}.3.attention.1", squeezed, C, 1, 1)
    yield from swinir.both_shapes(f"{name}.3.attention.3", C, squeezed, 1, 1)


def _overlapping(name: str, stage: Any) -> Shapes:
    for theirs, shape in swinir.block_shapes(name, stage):
        if not theirs.endswith("_table"):
            yield theirs.replace(".attn.", "."), shape
    sides = (2 * side + int(side * stage.overlap_ratio) - 1 for side in stage.window_size)
    yield f"{name}.relative_position_bias_table", (prod(sides), stage.num_heads)


def renamed(config: EncoderConfig, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """HAT's weights by samattn's names."""
    return {_ours(config, name.replace(swinir.DOT, ".")): weight for name, weight in theirs.items()}


def _ours(config: EncoderConfig, name: str) -> str:
    """A group is a stage of blocks and one of the overlapping block; it ends in the transition after it, the last one in the neck."""
    before = [sum(stage.depth for stage in config.stages[:number]) for number in range(len(config.stages))]
    if match := re.fullmatch(r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.(.*)", name):
        return f"blocks.{before[2 * int(match[1])] + int(match[2])}.{match[3]}"
    if match := re.fullmatch(r"layers\.(\d+)\.residual_group\.overlap_attn\.(.*)", name):
        inside = "" if match[2].startswith(("norm", "mlp")) else "attn."
        return f"blocks.{before[2 * int(match[1]) + 1]}.{inside}{match[2]}"
    if match := re.fullmatch(r"layers\.(\d+)\.(.*)", name):
        number = 2 * int(match[1]) + 2
        return f"transitions.{number}.{match[2]}" if number < len(config.stages) else f"neck.group.{match[2]}"
    if name.startswith("conv_first"):
        return f"patch_embed.{name}"
    return name if name.startswith("patch_embed") else f"neck.{name}"


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    config = load_config(preset)
    with torch.device("meta"):
        return counted(HAT(config), torch.empty(config.input_shape))


GROUP: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "window_size": 8, "mlp_ratio": 2.0}
HYBRIDS = GROUP | {"block": HYBRID, "depth": 2, "compress_ratio": 2, "squeeze_factor": 4}
FAR = GROUP | {"block": "overlapping_cross_attention", "depth": 1}
NEXT = HYBRIDS | {"transition": "residual_hybrid_group"}
SMALL: dict[str, Any] = {
    "image_size": [20, 28],
    "patch_size": 1,
    "patch_embed": "hat_pixels",
    "pos_embed": "none",
    "neck": "hat_pixelshuffle",
    "upscale": 2,
    "out_chans": 3,
    "stages": [HYBRIDS, FAR, NEXT | {"depth": 1}, FAR],
}
TRAINING: dict[str, Any] = {"run.mode": "training"}

RECORDS = (
    Record(
        name="HAT",
        blocks=(HYBRID, "overlapping_cross_attention"),
        presets=(),
        larger=("hat_s_x2", "hat_x3", "hat_l_x4"),
        count=count,
        small=SMALL,
        public=lambda config: HAT(config).eval(),
        weights=renamed,
        spread=0.06,
        values={
            "4 times": {"upscale": 4, "run.batch_size": 2},
            "3 times, one window": {"upscale": 3, "image_size": 8},
        },
        folded={"training": TRAINING | {"image_size": 16}},
        in_full={
            "padded": {},
            "autocast, 4 times": {"run.autocast": "bfloat16", "upscale": 4, "image_size": [16, 24]},
            "frozen groups, batch": {"run.trains": ["blocks.1", "neck"], "run.batch_size": 2} | TRAINING,
            "global, checkpointing": {
                "run.checkpointing": True,
                "stages": [HYBRIDS | {"global_attn_indexes": [1]}, FAR | {"window_size": 0}, NEXT, FAR],
                "image_size": [16, 24],
            }
            | TRAINING,
        },
        verified={"hat_s_x2": {"image_size": 16}},
        bad={
            "another patch": ({"patch_size": 2}, "[patch-size-fixed] patch_size 2 1"),
            "too small to reflect": ({"image_size": [4, 28]}, "[image-too-small] image_size"),
            "another window": (
                {"stages": [HYBRIDS, FAR | {"window_size": 4}, NEXT, FAR]},
                "[one-window] window_size 8x8",
            ),
            "an odd overlap": (
                {"stages": [HYBRIDS, FAR | {"overlap_ratio": 0.4}, NEXT, FAR]},
                "[overlap-not-even] overlap_ratio 0.4 8x8 3x3",
            ),
            "no channel left": (
                {"stages": [HYBRIDS | {"squeeze_factor": 17}, FAR, NEXT, FAR]},
                "[no-channels-left] squeeze_factor 17 16",
            ),
            "SwinIR's pixels": (
                {"patch_embed": "pixels"},
                ("[block-does-not-fit] hat_pixels", "[neck-does-not-fit] hat_pixels"),
            ),
            "three convolutions": ({"resi_connection": "3conv"}, "[neck-does-not-fit] resi_connection"),
            "5 times": ({"upscale": 5}, "[upscale-not-supported] upscale 5"),
        },
    ),
)
