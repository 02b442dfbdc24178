"""SwinIR, written anew from the weights by the authors' names, and transformers' Swin2SR.

Source of the names and of what is computed: JingyunLiang/SwinIR, models/network_swinir.py. Windows are cut by index here, and
attention is computed with one bias for each pair of pixels and region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Swin2SRConfig
from transformers.models.swin2sr.modeling_swin2sr import Swin2SRForImageSuperResolution, Swin2SRModel

from samattn_cli import EncoderConfig, load_config
from tests.public.counting import counted
from tests.public.record import Record

PRESETS = (
    "swin2sr_classical_x2",
    "swin2sr_classical_x4",
    "swinir_classical_x4",
    "swinir_denoising",
    "swinir_lightweight_x2",
    "swinir_real_x4",
    "swinir_real_x4_large",
)
MEAN = (0.4488, 0.4371, 0.4040)
UPSAMPLERS = {
    "pixelshuffle": "pixelshuffle",
    "pixelshuffledirect": "pixelshuffledirect",
    "nearest_conv": "nearest+conv",
}
DOT = "/"
"""In names of torch's parameters there may be no dots."""


class SwinIR(nn.Module):
    """SwinIR of a config."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        for name, shape in self.shapes():
            self.register_parameter(name.replace(".", DOT), nn.Parameter(torch.zeros(shape)))

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Its weights by the authors' names."""
        return shapes(self.config)

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        """A weight and its bias."""
        weight, bias = (getattr(self, f"{name}.{each}".replace(".", DOT)) for each in ("weight", "bias"))
        return weight, bias

    def conv(self, name: str, x: Tensor) -> Tensor:
        """A convolution that keeps the size; three of them if its name has numbers."""
        if f"{name}.0.weight".replace(".", DOT) in self._parameters and name.startswith(
            ("layers", "conv_after")
        ):
            x = F.leaky_relu(self.conv(f"{name}.0", x), 0.2)
            x = F.leaky_relu(self.conv(f"{name}.2", x), 0.2)
            return self.conv(f"{name}.4", x)
        weight, bias = self.both(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """A LayerNorm over the channels of (..., C)."""
        weight, bias = self.both(name)
        return F.layer_norm(x, weight.shape, weight, bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, c, height, width) -> the restored image, or the features."""
        config, (height, width) = self.config, image.shape[2:]
        h, w = config.stages[0].window_size
        x = F.pad(image, (0, -width % w, 0, -height % h), mode="reflect")
        mean = torch.tensor(MEAN, device=image.device).view(1, 3, 1, 1)
        x = x - mean
        first = self.conv("conv_first", x)
        features = first + self.conv("conv_after_body", self.deep(first))
        if config.neck == "swinir_body":
            return features
        restored = (
            self.upsample(features) if config.neck != "denoising" else x + self.conv("conv_last", features)
        )
        r = config.upscale
        return (restored + mean)[..., : r * height, : r * width]

    def deep(self, x: Tensor) -> Tensor:
        """All groups: (B, C, H, W) -> the same."""
        tokens = self.norm("patch_embed.norm", x.movedim(1, -1))
        for number, stage in enumerate(self.config.stages):
            skipped = tokens
            for index in range(stage.depth):
                name = f"layers.{number}.residual_group.blocks.{index}"
                tokens = tokens + self.attend(
                    f"{name}.attn", self.norm(f"{name}.norm1", tokens), stage, index % 2
                )
                hidden = F.gelu(F.linear(self.norm(f"{name}.norm2", tokens), *self.both(f"{name}.mlp.fc1")))
                tokens = tokens + F.linear(hidden, *self.both(f"{name}.mlp.fc2"))
            tokens = skipped + self.conv(f"layers.{number}.conv", tokens.movedim(-1, 1)).movedim(1, -1)
        return self.norm("norm", tokens).movedim(-1, 1)

    def attend(self, name: str, x: Tensor, stage: Any, is_odd: int) -> Tensor:
        """Attention in windows, each of which is cut where the image is rolled together: (B, H, W, C) -> the same."""
        (B, H, W, C), (h, w), heads = x.shape, stage.window_size, stage.num_heads
        shift = (h // 2, w // 2) if is_odd and h < H and w < W else (0, 0)
        down = (torch.arange(H) + shift[0]) % H
        right = (torch.arange(W) + shift[1]) % W
        places = (down[:, None] * W + right).view(H // h, h, W // w, w).movedim(2, 1).reshape(-1, h * w)
        regions = _regions(H, h, shift[0])[:, None] * 3 + _regions(W, w, shift[1])
        regions = regions.view(H // h, h, W // w, w).movedim(2, 1).reshape(-1, h * w)
        qkv = F.linear(x.reshape(B, H * W, C)[:, places], *self.both(f"{name}.qkv"))
        q, k, v = qkv.view(*qkv.shape[:-1], 3, heads, C // heads).movedim(-3, 0).transpose(-2, -3)
        scores = (q * (C // heads) ** -0.5) @ k.mT + self.bias(f"{name}.relative_position_bias_table", h, w)
        scores = scores - 100.0 * (regions[:, :, None] != regions[:, None])[:, None]
        y = (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2)
        y = F.linear(y, *self.both(f"{name}.proj"))
        return (
            torch.empty_like(x)
            .view(B, H * W, C)
            .index_copy(1, places.flatten(), y.flatten(1, 2))
            .view(x.shape)
        )

    def bias(self, name: str, h: int, w: int) -> Tensor:
        """The bias of each pair of pixels: (heads, N, N)."""
        at = torch.cartesian_prod(torch.arange(h), torch.arange(w))
        offsets = at[:, None] - at + torch.tensor([h - 1, w - 1])
        table: Tensor = getattr(self, name.replace(".", DOT))
        return table[offsets[..., 0] * (2 * w - 1) + offsets[..., 1]].movedim(-1, 0)

    def upsample(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, c, rH, rW)."""
        r = self.config.upscale
        if self.config.neck == "pixelshuffledirect":
            return F.pixel_shuffle(self.conv("upsample.0", x), r)
        x = F.leaky_relu(self.conv("conv_before_upsample.0", x), 0.01)
        if self.config.neck in {"pixelshuffle", "hat_pixelshuffle"}:
            for number, times in enumerate(_steps(r)):
                x = F.pixel_shuffle(self.conv(f"upsample.{2 * number}", x), times)
            return self.conv("conv_last", x)
        for number in range(1, r // 2 + 1):
            larger = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
            x = F.leaky_relu(self.conv(f"conv_up{number}", larger), 0.2)
        return self.conv("conv_last", F.leaky_relu(self.conv("conv_hr", x), 0.2))


def _regions(length: int, window: int, shift: int) -> Tensor:
    """The region of each row of a rolled image."""
    at = torch.arange(length)
    return (at >= length - window).long() + (at >= length - shift).long() if shift else at * 0


def _steps(r: int) -> tuple[int, ...]:
    return (3,) if r == 3 else {2: (2,), 4: (2, 2), 8: (2, 2, 2)}[r]


def shapes(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The weights by the authors' names."""
    C, c = config.stages[0].embed_dim, config.in_chans
    yield from both_shapes("conv_first", C, c, 3, 3)
    yield from both_shapes("patch_embed.norm", C)
    for number, stage in enumerate(config.stages):
        for index in range(stage.depth):
            yield from block_shapes(f"layers.{number}.residual_group.blocks.{index}", stage)
        yield from _connection(f"layers.{number}.conv", C, config)
    yield from both_shapes("norm", C)
    yield from _connection("conv_after_body", C, config)
    yield from neck_shapes(config, C, config.neck)


def both_shapes(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A weight of this shape, and its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def block_shapes(name: str, stage: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Those of a block of Swin."""
    C, (h, w), wide = stage.embed_dim, stage.window_size, int(stage.embed_dim * stage.mlp_ratio)
    yield f"{name}.attn.relative_position_bias_table", ((2 * h - 1) * (2 * w - 1), stage.num_heads)
    for part, *shape in (
        ("attn.qkv", 3 * C, C),
        ("attn.proj", C, C),
        ("mlp.fc1", wide, C),
        ("mlp.fc2", C, wide),
    ):
        yield from both_shapes(f"{name}.{part}", *shape)
    yield from both_shapes(f"{name}.norm1", C)
    yield from both_shapes(f"{name}.norm2", C)


def _connection(name: str, C: int, config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    if config.resi_connection == "1conv":
        yield from both_shapes(name, C, C, 3, 3)
        return
    for at, *shape in ((0, C // 4, C, 3, 3), (2, C // 4, C // 4, 1, 1), (4, C, C // 4, 3, 3)):
        yield from both_shapes(f"{name}.{at}", *shape)


def neck_shapes(config: EncoderConfig, C: int, neck: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Those of a neck, as of one of SwinIR's."""
    r, c = config.upscale, config.out_chans
    if neck == "pixelshuffledirect":
        yield from both_shapes("upsample.0", r * r * c, C, 3, 3)
    if neck in {"pixelshuffle", "nearest_conv"}:
        yield from both_shapes("conv_before_upsample.0", 64, C, 3, 3)
    if neck == "pixelshuffle":
        for number, times in enumerate(_steps(r)):
            yield from both_shapes(f"upsample.{2 * number}", 64 * times**2, 64, 3, 3)
    if neck == "nearest_conv":
        for name in ("conv_up1", "conv_hr") if r == 2 else ("conv_up1", "conv_up2", "conv_hr"):
            yield from both_shapes(name, 64, 64, 3, 3)
    if neck in {"pixelshuffle", "nearest_conv", "denoising"}:
        yield from both_shapes("conv_last", c, C if neck == "denoising" else 64, 3, 3)


def renamed(config: EncoderConfig, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SwinIR's weights by samattn's names."""
    return {_ours(config, name.replace(DOT, ".")): weight for name, weight in theirs.items()}


def _ours(config: EncoderConfig, name: str) -> str:
    """A group ends in the transition after it, the last one in the neck."""
    if match := re.fullmatch(r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.(.*)", name):
        before = sum(stage.depth for stage in config.stages[: int(match[1])])
        return f"blocks.{before + int(match[2])}.{match[3]}"
    if match := re.fullmatch(r"layers\.(\d+)\.(.*)", name):
        number = int(match[1]) + 1
        return f"transitions.{number}.{match[2]}" if number < len(config.stages) else f"neck.group.{match[2]}"
    if name.startswith("conv_first"):
        return f"patch_embed.{name}"
    return name if name.startswith("patch_embed") else f"neck.{name}"


def swin2sr(config: EncoderConfig) -> nn.Module:
    """transformers' model of the same shape."""
    stages = config.stages
    made = Swin2SRConfig(
        image_size=config.image_size,
        num_channels=config.in_chans,
        embed_dim=stages[0].embed_dim,
        depths=[stage.depth for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        window_size=stages[0].window_size[0],
        mlp_ratio=stages[0].mlp_ratio,
        qkv_bias=stages[0].qkv_bias,
        upscale=config.upscale,
        resi_connection=config.resi_connection,
        upsampler=UPSAMPLERS.get(config.neck, ""),
    )
    model: nn.Module = (Swin2SRModel if config.neck == "swinir_body" else Swin2SRForImageSuperResolution)(
        made
    )
    return model.eval()


OF_SWIN2SR = {
    r"^swin2sr\.": "",
    r"^(upsample\.)?(conv_before_upsample)\.": r"neck.\2.0.",
    r"^upsample\.upsample\.convolution\.": "neck.upsample.0.",
    r"^upsample\.conv\.": "neck.upsample.0.",
    r"^upsample\.(conv_up1|conv_up2|conv_hr)\.": r"neck.\1.",
    r"^(upsample\.)?final_convolution\.": "neck.conv_last.",
    r"^first_convolution\.": "patch_embed.conv_first.",
    r"^embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"^embeddings\.patch_embeddings\.layernorm\.": "patch_embed.norm.",
    r"\.patch_embed\.projection\.": ".proj.",
    r"^layernorm\.": "neck.norm.",
    r"^conv_after_body\.": "neck.conv_after_body.",
    r"attention\.self\.continuous_position_bias_mlp\.": "attn.cpb_mlp.",
    r"attention\.self\.logit_scale$": "attn.logit_scale",
    r"attention\.output\.dense\.": "attn.proj.",
    r"layernorm_before\.": "norm1.",
    r"layernorm_after\.": "norm2.",
    r"intermediate\.dense\.": "mlp.fc1.",
    r"(blocks\.\d+)\.output\.dense\.": r"\1.mlp.fc2.",
}


def of_swin2sr(config: EncoderConfig, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' weights by samattn's names: its projections of queries, keys and values are one."""
    made: dict[str, Tensor] = {}
    for their_name, weight in theirs.items():
        name = re.sub(r"^swin2sr\.", "", their_name)
        if match := re.match(r"encoder\.stages\.(\d+)\.(?:layers\.(\d+)\.)?", name):
            name = _of_stage(config, int(match[1]), match[2]) + name[match.end() :]
        name = re.sub(
            r"^upsample\.upsample\.convolution_(\d)\.", lambda at: f"neck.upsample.{2 * int(at[1])}.", name
        )
        for pattern, ours in OF_SWIN2SR.items():
            name = re.sub(pattern, ours, name)
        made[name] = weight
    for name in [name for name in made if name.endswith("attention.self.query.weight")]:
        of_three = [made.pop(name.replace("query", each)) for each in ("query", "key", "value")]
        ours = name.replace("attention.self.query.weight", "attn.")
        made[f"{ours}qkv.weight"] = torch.cat(of_three)
        for each in ("query", "value"):
            made[f"{ours}{each[0]}_bias"] = made.pop(name.replace("query.weight", f"{each}.bias"))
    return made


def _of_stage(config: EncoderConfig, stage: int, layer: str | None) -> str:
    if layer is not None:
        return f"blocks.{sum(each.depth for each in config.stages[:stage]) + int(layer)}."
    return f"transitions.{stage + 1}." if stage + 1 < len(config.stages) else "neck.group."


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of a preset."""
    config = load_config(preset)
    with torch.device("meta"):
        model = (swin2sr if preset.startswith("swin2sr") else SwinIR)(config)
        return counted(model, torch.empty(config.input_shape))


def _swin2sr_outputs(model: nn.Module, config: EncoderConfig, image: Tensor) -> tuple[Tensor]:
    made = model(image)
    return (made.last_hidden_state if config.neck == "swinir_body" else made.reconstruction,)


def small(block: str, patch_embed: str) -> dict[str, Any]:
    """Two groups, on 20x28 pixels that are padded to 24x32 by reflection."""
    stage = {"block": block, "embed_dim": 16, "depth": 2, "num_heads": 2, "window_size": 8, "mlp_ratio": 2.0}
    return {
        "image_size": [20, 28],
        "patch_size": 1,
        "patch_embed": patch_embed,
        "pos_embed": "none",
        "neck": "pixelshuffle",
        "upscale": 2,
        "out_chans": 3,
        "stages": [stage, stage | {"depth": 1, "transition": "residual_group"}],
    }


SWINIR, SWIN2SR = small("swin", "pixels"), small("swinv2", "pixels_proj")
WHOLE: dict[str, Any] = {"image_size": [16, 24]}
FIRST, SECOND = SWINIR["stages"]
DENOISING: dict[str, Any] = {"neck": "denoising", "upscale": None}
REAL = {"neck": "nearest_conv", "upscale": 4, "resi_connection": "3conv"}
FEATURES = {"neck": "swinir_body", "upscale": None, "out_chans": None}
LIBRARY: dict[str, Any] = {"implementation": "transformers"}
TRAINING: dict[str, Any] = {"run.mode": "training"}


def _changed(*changes: Mapping[str, object]) -> dict[str, object]:
    """Changes without the keys that they leave out: those of a word that is replaced go with it."""
    return {key: value for change in changes for key, value in change.items() if value is not None}


RECORDS = (
    Record(
        name="SwinIR",
        blocks=("swin",),
        presets=("swinir_lightweight_x2",),
        larger=("swinir_classical_x4", "swinir_denoising", "swinir_real_x4", "swinir_real_x4_large"),
        count=count,
        small=SWINIR,
        public=lambda config: SwinIR(config).eval(),
        weights=renamed,
        spread=0.06,
        values={
            "pixel shuffle, sdpa": {"run.attention": "sdpa", "run.batch_size": 2},
            "direct, 3 times": {"neck": "pixelshuffledirect", "upscale": 3},
            "nearest, three convolutions": REAL,
            "denoising": _changed(DENOISING),
            "features, one window": _changed(FEATURES, {"image_size": [5, 7]}),
        },
        folded={"nearest, training": REAL | TRAINING},
        in_full={
            "eager, pixel shuffle": {},
            "sdpa, autocast": {"run.attention": "sdpa", "run.autocast": "bfloat16", "upscale": 4},
            "direct, checkpointing": {"neck": "pixelshuffledirect", "upscale": 3, "run.checkpointing": True}
            | TRAINING,
            "denoising, float16": _changed(DENOISING, {"run.dtype": "float16", "run.grad": True}),
            "frozen groups": {"run.trains": ["blocks.1", "neck"]} | TRAINING,
            "features": _changed(FEATURES, WHOLE, TRAINING),
        },
        verified={"swinir_lightweight_x2": {}, "swinir_real_x4_large": {}},
        bad={
            "another patch": ({"patch_size": 2}, "[patch-size-fixed] patch_size 2 1"),
            "too small to reflect": ({"image_size": [4, 28]}, "[image-too-small] image_size"),
            "another width": (
                {"stages": [FIRST, SECOND | {"embed_dim": 32}]},
                ("[width-changes]", "[width-changes]"),
            ),
            "5 times": ({"upscale": 5}, "[upscale-not-supported] upscale 5"),
            "a norm before": ({"norm": True}, "[norm-before-norm] norm"),
            "patches": ({"patch_embed": "patch"}, "[neck-does-not-fit] patch_embed"),
            "a grey image": (
                _changed(DENOISING) | {"in_chans": 1, "upscale": None},
                "[neck-does-not-fit] out_chans",
            ),
        },
    ),
    Record(
        name="Swin2SR",
        blocks=("swinv2",),
        presets=(),
        larger=("swin2sr_classical_x2", "swin2sr_classical_x4"),
        count=count,
        small=SWIN2SR | WHOLE,
        public=swin2sr,
        weights=of_swin2sr,
        outputs=_swin2sr_outputs,
        spread=0.06,
        values={
            "pixel shuffle, 4 times": {"upscale": 4, "run.batch_size": 2},
            "direct, three convolutions": {
                "neck": "pixelshuffledirect",
                "upscale": 3,
                "resi_connection": "3conv",
            },
            "features": _changed(FEATURES),
        },
        folded={"transformers, pixel shuffle": LIBRARY},
        in_full={
            "nearest, autocast": {"neck": "nearest_conv", "upscale": 4, "run.autocast": "bfloat16"},
            "padded, training": TRAINING | {"image_size": [20, 28]},
            "transformers, training": LIBRARY | TRAINING | {"run.batch_size": 2, "upscale": 3},
            "transformers, autocast": LIBRARY
            | {"neck": "nearest_conv", "upscale": 4, "run.autocast": "float16"},
            "transformers, shifted windows after a group": LIBRARY
            | {"stages": [SWIN2SR["stages"][0], SWIN2SR["stages"][1] | {"depth": 2}]},
            "transformers, direct": LIBRARY | {"neck": "pixelshuffledirect", "resi_connection": "3conv"},
            "transformers, one group": _changed(FEATURES, LIBRARY, {"stages": [SWIN2SR["stages"][0]]}),
        },
        verified={"swin2sr_classical_x2": {}, "swin2sr_classical_x4": LIBRARY},
        bad={
            "sdpa": ({"run": {"attention": "sdpa"}}, "[kernel-not-modelled] run.attention"),
            "padding in transformers": (
                LIBRARY | {"image_size": 20},
                "[implementation-cannot-run] whole windows",
            ),
        },
    ),
)
