"""LW-DETR's backbone and projector of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/lw_detr/modeling_lw_detr.py: LwDetrViTEmbeddings, LwDetrViTBackbone, LwDetrConvEncoder.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import LwDetrConfig, LwDetrViTBackbone, LwDetrViTConfig
from transformers.models.lw_detr.modeling_lw_detr import LwDetrMultiScaleProjector, LwDetrViTEmbeddings

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ..rf_detr.words import blocks_read, cut_of


class Given(nn.Module):
    """Gives the patches of a list, which it empties."""

    def forward(self, made: Any) -> Tensor:
        """The patches, (B, C, H, W)."""
        return cast("Tensor", made.pop())


class Patches(list[Tensor]):
    """A list of patches that also has the shape of the images they are made of."""

    shape: tuple[int, ...] = ()


class Positions(nn.Module):
    """LwDetrViTEmbeddings without its convolution, then the windows that LwDetrViTBackbone cuts."""

    lets_go = True

    def __init__(self, embeddings: LwDetrViTEmbeddings, config: EncoderConfig) -> None:
        super().__init__()
        embeddings.projection = Given()
        self.embeddings, self.shape, self.side = embeddings, config.input_shape, cut_of(config)[0]

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> windows (M, N, C), and what they are cut from, (B, C, H, W)."""
        patches = Patches([entering.pop()])
        patches.shape = self.shape
        made = self.embeddings(patches)
        (B, C, H, W), k = made.shape, self.side
        x = made.permute(0, 2, 3, 1)
        x = x.reshape(B, k, H // k, k, W // k, C).permute(0, 1, 3, 2, 4, 5).reshape(B * k * k, -1, C)
        return x, made


class Maps(nn.Module):
    """The maps that LwDetrViTBackbone makes after its layers have run."""

    lets_go_of_taps = True

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.grid, self.side, self.number = config.grid, cut_of(config)[0], len(blocks_read(config))

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """(M, N, C), each -> maps (B, C, H, W)."""
        return self._maps(entering, taps)

    def _maps(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        made = tuple(self._map(each, self.grid) for each in [*taps, entering[0]][: self.number])
        entering.clear()
        taps.clear()
        return made

    def _map(self, x: Tensor, grid: Pair) -> Tensor:
        (H, W), k, C = grid, self.side, x.shape[2]
        B = len(x) // (k * k)
        x = x.reshape(B, k, k, H // k, W // k, C)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(B, C, H, W)


class Neck(Maps):
    """The maps and LwDetrMultiScaleProjector, as LwDetrConvEncoder runs them."""

    def __init__(self, config: EncoderConfig, projector: LwDetrMultiScaleProjector) -> None:
        super().__init__(config)
        self.projector = projector

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """(M, N, C), each -> (B, out_chans, ...), one for each scale."""
        features: Any = self._maps(entering, taps)
        features = self.projector(features)
        return tuple(features)


class Convolution(nn.Module):
    """The convolution of LwDetrViTEmbeddings."""

    def __init__(self, embeddings: LwDetrViTEmbeddings) -> None:
        super().__init__()
        self.projection = embeddings.projection

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, C, H, W)."""
        return cast("Tensor", self.projection(image))


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    made = backbone_config(config)
    model: Any = LwDetrViTBackbone(made)
    model.to(
        model.embeddings.projection.weight.device
    )  # its gammas are made on the CPU, whatever the default is
    neck = Maps(config)
    if config.neck == "lw_detr":
        scales = list(config.neck_scales)
        whole = LwDetrConfig(backbone_config=made, d_model=config.out_chans, projector_scale_factors=scales)
        neck = Neck(config, LwDetrMultiScaleProjector(whole))
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return {
        "patch_embed": Convolution(model.embeddings),
        "pos_embed": Positions(model.embeddings, config),
        **{f"blocks.{index}": layer for index, layer in enumerate(model.encoder.layer)},
        "neck": neck,
    }


def backbone_config(config: EncoderConfig) -> LwDetrViTConfig:
    """The LwDetrViTConfig of an encoder that it can run."""
    stage, side = config.stages[0], cut_of(config)[0]
    return LwDetrViTConfig(
        image_size=side**4,  # which only a check reads, that is not of patches
        pretrain_image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=int(stage.mlp_ratio),
        qkv_bias=stage.qkv_bias,
        num_windows=side**2,
        window_block_indices=[layer.index for layer in config.layers if not layer.is_global],
        out_indices=[index + 1 for index in blocks_read(config)],
    )
