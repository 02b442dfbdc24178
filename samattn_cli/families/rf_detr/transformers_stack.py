"""RF-DETR's backbone and projector of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/rf_detr/modeling_rf_detr.py.
"""

from __future__ import annotations

from inspect import unwrap
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from transformers import RfDetrConfig, RfDetrDinov2Backbone, RfDetrDinov2Config
from transformers.models.rf_detr.modeling_rf_detr import RfDetrDinov2Embeddings, RfDetrScaleProjector

from ...encoder.model import EncoderConfig
from .words import blocks_read, cut_of


class Image(NamedTuple):
    """An image of which only the shape is left, and the list with what was made of it."""

    shape: tuple[int, ...]
    made: list[Tensor]


class Given(nn.Module):
    """Gives what was made of an image, whose list it empties."""

    def forward(self, image: Image) -> Tensor:
        """The patches, (B, HW, C)."""
        return image.made.pop()


class Positions(nn.Module):
    """RfDetrDinov2Embeddings without its patches, which are made before it."""

    lets_go = True

    def __init__(self, embeddings: RfDetrDinov2Embeddings, config: EncoderConfig) -> None:
        super().__init__()
        embeddings.patch_embeddings = Given()
        self.embeddings, self.shape = embeddings, config.input_shape

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, HW, C) -> windows of all images, (M, N, C)."""
        return cast("Tensor", self.embeddings(Image(self.shape, entering)))


class Maps(nn.Module):
    """The forward of a backbone after its layers have run.

    Args:
        backbone: RfDetrDinov2Backbone, or another that makes its maps from `encoder(...).hidden_states` alone.
        shape: of the images.
    """

    lets_go_of_taps = True

    def __init__(self, backbone: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layernorm, self.shape = backbone.layernorm, shape
        self.backbone = SimpleNamespace(
            embeddings=Given(),
            encoder=self._hidden_states,
            **{name: getattr(backbone, name) for name in ("stage_names", "out_features", "config")},
            layernorm=backbone.layernorm,
            window_unpartition=backbone.window_unpartition,
        )
        self.forward_of_backbone = unwrap(type(backbone).forward)

    @staticmethod
    def _hidden_states(made: list[Tensor], **_: Any) -> SimpleNamespace:
        """What its encoder would return; `made` is emptied."""
        states = tuple(made)
        made.clear()
        return SimpleNamespace(hidden_states=states, attentions=None)

    def _maps(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        made = [[*taps, entering[0]]]
        entering.clear()
        taps.clear()
        image: Any = Image(self.shape, cast("list[Tensor]", made))
        return cast("tuple[Tensor, ...]", self.forward_of_backbone(self.backbone, image).feature_maps)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        """The last output, then what enters the first layer and all other outputs -> maps (B, C, H, W)."""
        return self._maps(entering, taps)


class Neck(Maps):
    """The maps and RfDetrScaleProjector, as RfDetrConvEncoder runs them."""

    def __init__(self, backbone: Any, projector: RfDetrScaleProjector, shape: tuple[int, ...]) -> None:
        super().__init__(backbone, shape)
        self.projector = projector

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Any:
        """(M, N, C), each -> (B, out_chans, H, W)."""
        features: Any = self._maps(entering, taps)
        features = self.projector(features)
        return features  # noqa: RET504 - the name holds the maps until the projector has run


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    made = backbone_config(config)
    model: Any = RfDetrDinov2Backbone(made)
    neck = Maps(model, config.input_shape)
    if config.neck == "rf_detr":
        projector = RfDetrScaleProjector(RfDetrConfig(backbone_config=made, d_model=config.out_chans))
        neck = Neck(model, projector, config.input_shape)
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return {
        "patch_embed": model.embeddings.patch_embeddings,
        "pos_embed": Positions(model.embeddings, config),
        **{f"blocks.{index}": layer for index, layer in enumerate(model.encoder.layer)},
        "neck": neck,
    }


def backbone_config(config: EncoderConfig) -> RfDetrDinov2Config:
    """The RfDetrDinov2Config of an encoder that it can run."""
    stage = config.stages[0]
    made = RfDetrDinov2Config(
        image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        hidden_size=stage.embed_dim,
        num_hidden_layers=stage.depth,
        num_attention_heads=stage.num_heads,
        mlp_ratio=int(stage.mlp_ratio),
        qkv_bias=stage.qkv_bias,
        num_windows=cut_of(config)[0],
        out_indices=[index + 1 for index in blocks_read(config)],
    )
    made.window_block_indexes = [layer.index for layer in config.layers if not layer.is_global]
    return made
