"""TinyViT of microsoft/Cream and MobileSAM's image encoder, which are written again here.

Neither can be installed as a package next to torch 2.13. So they are written with torch's functions, on weights with the names of
that code (TinyViT/models/tiny_vit.py; mobile_sam/modeling/tiny_vit_sam.py). It shares no code with samattn. Its parameters are
the weights that these calls use. `timm.json` has what timm's own TinyVit allocates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.model import StageConfig
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = ("mobile_sam", "tiny_vit_5m", "tiny_vit_11m", "tiny_vit_21m")
STRIDES = {"conv_merging": 2, "conv_widening": 1}
DOT = "/"
"""In names of torch's parameters there may be no dots."""


class Public(nn.Module):
    """The encoder of a config: the authors' names, and calls of torch's functions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator(device="cpu").manual_seed(3)
        for name, shape in shapes(config):
            self.register_parameter(name.replace(".", DOT), nn.Parameter(torch.zeros(shape, device="cpu")))
            if name.endswith("bn.weight"):
                prefix = name.removesuffix("weight").replace(".", DOT)
                self.register_buffer(f"{prefix}running_mean", torch.randn(shape, generator=generator))
                self.register_buffer(f"{prefix}running_var", torch.rand(shape, generator=generator) + 0.5)

    def named(self, name: str) -> Tensor:
        """A weight or a buffer."""
        return getattr(self, name.replace(".", DOT))

    def conv(self, name: str, x: Tensor, stride: int = 1, *, by_channel: bool = False) -> Tensor:
        """A convolution and its BatchNorm."""
        weight = self.named(f"{name}.c.weight")
        groups = len(weight) if by_channel else 1
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        rest = (self.named(f"{name}.bn.{each}") for each in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, *rest, eps=1e-5)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A linear layer."""
        return F.linear(x, self.named(f"{name}.weight"), self.named(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """A LayerNorm over the last dimension."""
        weight, bias = self.named(f"{name}.weight"), self.named(f"{name}.bias")
        return F.layer_norm(x, weight.shape, weight, bias, eps=1e-5)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, height, width) -> (B, H, W, C), or (B, out_chans, H, W) with a neck."""
        x = F.gelu(self.conv("patch_embed.seq.0", image, 2))
        x = self.conv("patch_embed.seq.2", x, 2)
        for number, stage in enumerate(self.config.stages):
            if number:
                x = self.merge(f"layers.{number - 1}.downsample", x, STRIDES[stage.transition])
            for index in range(stage.depth):
                run = self.convolve if stage.block == "mbconv" else self.attend
                x = run(f"layers.{number}.blocks.{index}", x, stage)
        return x.permute(0, 2, 3, 1) if self.config.neck == "none" else self.neck(x)

    def merge(self, name: str, x: Tensor, stride: int) -> Tensor:
        """To the width of the next stage."""
        x = F.gelu(self.conv(f"{name}.conv1", x))
        x = F.gelu(self.conv(f"{name}.conv2", x, stride, by_channel=True))
        return self.conv(f"{name}.conv3", x)

    def convolve(self, name: str, x: Tensor, _: StageConfig) -> Tensor:
        """A block without attention."""
        y = F.gelu(self.conv(f"{name}.conv1", x))
        y = F.gelu(self.conv(f"{name}.conv2", y, by_channel=True))
        return F.gelu(x + self.conv(f"{name}.conv3", y))

    def attend(self, name: str, x: Tensor, stage: StageConfig) -> Tensor:
        """A block with attention: an image (B, C, H, W)."""
        (_, _, H, W), (h, w) = x.shape, stage.window_size
        padded = F.pad(x, (0, -W % w, 0, -H % h))
        B, C, height, width = padded.shape
        windows = padded.view(B, C, height // h, h, width // w, w).permute(0, 2, 4, 3, 5, 1)
        y = self.attention(f"{name}.attn", windows.reshape(-1, h * w, C), stage)
        y = y.view(windows.shape).permute(0, 5, 1, 3, 2, 4).reshape(padded.shape)
        x = self.conv(f"{name}.local_conv", x + y[:, :, :H, :W], by_channel=True)
        tokens = self.norm(f"{name}.mlp.norm", x.flatten(2).mT)
        y = self.linear(f"{name}.mlp.fc2", F.gelu(self.linear(f"{name}.mlp.fc1", tokens)))
        return x + y.mT.reshape(x.shape)

    def attention(self, name: str, x: Tensor, stage: StageConfig) -> Tensor:
        """(windows, N, C) -> the same; the weight has queries, keys and values of the first head, then of the second."""
        M, N, C = x.shape
        heads, (h, w) = stage.num_heads, stage.window_size
        qkv = self.linear(f"{name}.qkv", self.norm(f"{name}.norm", x))
        q, k, v = qkv.view(M, N, heads, 3, C // heads).permute(3, 0, 2, 1, 4).flatten(1, 2)
        table = self.named(f"{name}.attention_biases").view(heads, h, w)
        at = [(row, column) for row in range(h) for column in range(w)]
        down = torch.tensor([[abs(a[0] - b[0]) for b in at] for a in at])
        right = torch.tensor([[abs(a[1] - b[1]) for b in at] for a in at])
        bias = table[:, down, right].repeat(M, 1, 1)
        scores = torch.bmm(q, k.mT) / (C // heads) ** 0.5 + bias
        y = torch.bmm(scores.softmax(-1), v).view(M, heads, N, C // heads)
        return self.linear(f"{name}.proj", y.transpose(1, 2).reshape(M, N, C))

    def neck(self, x: Tensor) -> Tensor:
        """SAM's neck."""
        for at, padding in ((0, 0), (2, 1)):
            x = F.conv2d(x, self.named(f"neck.{at}.weight"), padding=padding).permute(0, 2, 3, 1)
            weight, bias = self.named(f"neck.{at + 1}.weight"), self.named(f"neck.{at + 1}.bias")
            x = F.layer_norm(x, weight.shape, weight, bias, eps=1e-6).permute(0, 3, 1, 2)
        return x


def shapes(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The weights by the authors' names."""
    width = config.stages[0].embed_dim
    yield from _conv("patch_embed.seq.0", width // 2, config.in_chans, 3)
    yield from _conv("patch_embed.seq.2", width, width // 2, 3)
    for number, stage in enumerate(config.stages):
        C, wide = stage.embed_dim, int(stage.embed_dim * stage.mlp_ratio)
        if number:
            merging = f"layers.{number - 1}.downsample"
            yield from _conv(f"{merging}.conv1", C, width, 1)
            yield from _conv(f"{merging}.conv2", C, 1, 3)
            yield from _conv(f"{merging}.conv3", C, C, 1)
        for index in range(stage.depth):
            name = f"layers.{number}.blocks.{index}"
            if stage.block == "mbconv":
                yield from _conv(f"{name}.conv1", wide, C, 1)
                yield from _conv(f"{name}.conv2", wide, 1, 3)
                yield from _conv(f"{name}.conv3", C, wide, 1)
                continue
            h, w = stage.window_size
            yield f"{name}.attn.attention_biases", (stage.num_heads, h * w)
            for part, shape in {"qkv": (3 * C, C), "proj": (C, C)}.items():
                yield from _linear(f"{name}.attn.{part}", *shape)
            for part, shape in {"fc1": (wide, C), "fc2": (C, wide)}.items():
                yield from _linear(f"{name}.mlp.{part}", *shape)
            yield from _norm(f"{name}.attn.norm", C)
            yield from _norm(f"{name}.mlp.norm", C)
            yield from _conv(f"{name}.local_conv", C, 1, 3)
        width = C
    if config.neck == "sam":
        yield "neck.0.weight", (config.out_chans, width, 1, 1)
        yield "neck.2.weight", (config.out_chans, config.out_chans, 3, 3)
        yield from _norm("neck.1", config.out_chans)
        yield from _norm("neck.3", config.out_chans)


def _conv(name: str, out: int, entering: int, side: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.c.weight", (out, entering, side, side)
    yield from _norm(f"{name}.bn", out)


def _linear(name: str, out: int, entering: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, entering)
    yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def renamed(config: EncoderConfig, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by samattn's names: blocks are numbered over all layers, and a merging leads into the next stage."""
    firsts = [sum(stage.depth for stage in config.stages[:number]) for number in range(len(config.stages))]

    def block(found: re.Match[str]) -> str:
        return f"blocks.{firsts[int(found[1])] + int(found[2])}."

    def merging(found: re.Match[str]) -> str:
        return f"transitions.{int(found[1]) + 1}."

    ours: dict[str, Tensor] = {}
    for name, weight in theirs.items():
        at = re.sub(r"^layers\.(\d+)\.blocks\.(\d+)\.", block, name.replace(DOT, "."))
        at = re.sub(r"^layers\.(\d+)\.downsample\.", merging, at)
        ours[at] = weight
        if at.endswith("running_mean"):
            ours[at.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    return ours


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    config = load_config(preset)
    return counted(Public(config).to("meta"), torch.empty(config.input_shape, device="meta"))


SMALL = {
    "image_size": [40, 56],
    "patch_size": 4,
    "patch_embed": "conv_stem",
    "pos_embed": "none",
    "stages": [
        {"block": "mbconv", "embed_dim": 8, "depth": 1, "num_heads": 1},
        {"block": "tiny_vit", "embed_dim": 16, "depth": 2, "num_heads": 2, "window_size": 3}
        | {"transition": "conv_merging"},
        {"block": "tiny_vit", "embed_dim": 24, "depth": 1, "num_heads": 3, "window_size": 4}
        | {"transition": "conv_widening"},
    ],
    "neck": "sam",
    "out_chans": 12,
}
"""Grids 10x14, 5x7 and 5x7, all of which pad."""
MBCONV, FIRST, LAST = SMALL["stages"]

RECORDS = (
    Record(
        name="TinyViT",
        blocks=("mbconv", "tiny_vit"),
        presets=("mobile_sam", "tiny_vit_5m"),
        count=count,
        small=SMALL,
        public=lambda config: Public(config).eval(),
        weights=renamed,
        spread=0.2,
        values={
            "eager": {"run.batch_size": 2},
            "sdpa, a grid that is a window": {
                "run.attention": "sdpa",
                "neck": "none",
                "image_size": 24,
                "stages.2.window_size": 3,
                "stages.2.transition": "conv_merging",
                "stages.1.window_size": [3, 2],
            },
        },
        folded={"eager": {}},
        in_full={
            "sdpa, bfloat16": {"run.attention": "sdpa", "run.dtype": "bfloat16"},
            "autocast, checkpointing": {"run.autocast": "bfloat16", "run.checkpointing": True},
            "one window, a class of rows": {
                "image_size": [24, 56],
                "run.batch_size": 2,
                "stages.1.window_size": 7,
            },
            "frozen convolutions": {"run.mode": "training", "run.trains": ["blocks.1", "neck"]},
            "gradients that lie otherwise": {"neck": "none", "norm": True},
            "everywhere, autograd on": {"stages.2.window_size": 0, "run.grad": True, "run.dtype": "float16"},
        },
        verified={"mobile_sam": {}, "tiny_vit_5m": {"run.attention": "sdpa"}},
        bad={
            "another stride": ({"patch_size": 8}, "[patch-size-fixed] patch_size 4 8"),
            "a window of convolutions": (
                {"stages": [MBCONV | {"window_size": 7, "global_attn_indexes": [0]}, FIRST, LAST]},
                ("[unused-key] mbconv window_size", "[unused-key] mbconv global_attn_indexes"),
            ),
        },
    ),
)
