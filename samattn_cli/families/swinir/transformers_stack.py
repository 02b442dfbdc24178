"""Swin2SR of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/swin2sr/modeling_swin2sr.py.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Swin2SRConfig
from transformers.models.swin2sr.modeling_swin2sr import Swin2SRForImageSuperResolution

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from .words import RESULT, UPSAMPLERS


class Pixels(nn.Module):
    """What Swin2SRModel does before its encoder."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.encoder = model.layernorm = model.conv_after_body = None
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, c, height, width) -> tokens (B, L, C), features (B, C, H, W), and the image that it has made."""
        x = self.model.pad_and_normalize(image)
        features = self.model.first_convolution(x)
        tokens, _ = self.model.embeddings(features)
        return tokens, features, x


class Layer(nn.Module):
    """A Swin2SRLayer on its grid."""

    def __init__(self, layer: nn.Module, grid: Pair) -> None:
        super().__init__()
        self.layer, self.grid = layer, grid

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> the same."""
        out: tuple[Tensor, ...] = self.layer(x, self.grid)
        return out[0]


class Group(nn.Module):
    """What a Swin2SRStage does after its layers."""

    def __init__(self, stage: Any, grid: Pair) -> None:
        super().__init__()
        stage.layers = None
        self.stage, self.grid = stage, grid

    def forward(self, x: Tensor, residual: Tensor, *_: Tensor) -> Tensor:
        """(B, L, C), and what entered the stage, -> the same."""
        hidden = self.stage.patch_unembed(x, self.grid)
        hidden = self.stage.conv(hidden)
        hidden, _dimensions = self.stage.patch_embed(hidden)
        out: Tensor = hidden + residual
        return out


class Body(nn.Module):
    """The last stage's end, and what Swin2SRModel does after its encoder."""

    lets_go_of_taps = True

    def __init__(self, model: Any, config: EncoderConfig) -> None:
        super().__init__()
        self.group = Group(model.encoder.stages[-1], config.grid)
        self.layernorm, self.patch_unembed = model.layernorm, model.patch_unembed
        self.conv_after_body, self.grid = model.conv_after_body, config.grid
        self.has_one_stage = len(config.stages) == 1

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, L, C) -> (B, C, H, W)."""
        embeddings = (
            taps[0] if self.has_one_stage else None
        )  # the model has a name for what enters the first stage
        left = self.group(entering.pop(0), taps.pop(0))
        x = self.layernorm(left)
        x = self.patch_unembed(x, self.grid)
        out: Tensor = self.conv_after_body(x) + taps[0]
        del embeddings
        entering.clear()
        taps.clear()
        return out


class Restored(Body):
    """Body, and what Swin2SRForImageSuperResolution does after its model."""

    def __init__(self, model: Any, config: EncoderConfig) -> None:
        super().__init__(model.swin2sr, config)
        self.upsample, self.img_range, self.mean = model.upsample, model.swin2sr.img_range, model.swin2sr.mean
        self.size, self.upscale = config.image_size, config.upscale

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, L, C) -> (B, out_chans, r height, r width)."""
        features = super().forward(entering, taps)
        x = self.upsample(features)
        x = x / self.img_range + self.mean
        height, width = self.size
        out: Tensor = x[:, :, : height * self.upscale, : width * self.upscale]
        return out


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    whole: Any = Swin2SRForImageSuperResolution(settings(config))
    model = whole.swin2sr
    stages, layers = (
        list(model.encoder.stages),
        [each for stage in model.encoder.stages for each in stage.layers],
    )
    neck = Body(model, config) if config.neck == RESULT else Restored(whole, config)
    return {
        **{f"blocks.{index}": Layer(layer, config.grid) for index, layer in enumerate(layers)},
        **{f"transitions.{n}": Group(stage, config.grid) for n, stage in enumerate(stages[:-1], 1)},
        "neck": neck,
        "patch_embed": Pixels(model),
    }


def settings(config: EncoderConfig) -> Swin2SRConfig:
    """The Swin2SRConfig of an encoder that it can run; in evaluation, dropping paths changes nothing."""
    first, stages = config.stages[0], config.stages
    made = Swin2SRConfig(
        image_size=list(config.image_size),
        num_channels=config.in_chans,
        num_channels_out=config.in_chans if config.neck == RESULT else config.out_chans,
        embed_dim=first.embed_dim,
        depths=[stage.depth for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        window_size=first.window_size[0],
        mlp_ratio=first.mlp_ratio,
        qkv_bias=first.qkv_bias,
        drop_path_rate=0.0,
        upscale=config.upscale if config.neck != RESULT else 2,
        resi_connection=config.resi_connection,
        upsampler=UPSAMPLERS.get(config.neck, "pixelshuffle"),
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
