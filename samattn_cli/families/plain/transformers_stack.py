"""ViT and MAE of transformers, cut into the parts of the plan.

Sources: transformers 5.23.0, models/vit/modeling_vit.py and models/vit_mae/modeling_vit_mae.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel, ViTModel
from transformers.models.vit.modeling_vit import ViTEmbeddings
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEDecoder, ViTMAEEmbeddings

from ...encoder.model import EncoderConfig, StageConfig

INTERPOLATED: Callable[..., Tensor] = ViTEmbeddings.interpolate_pos_encoding
"""The positions for tokens of an image of a height and a width, from the weights of a module."""


class Positions(nn.Module):
    """ViTEmbeddings without its patches: a class token in front, then its positions, resized to another image."""

    def __init__(self, embeddings: ViTEmbeddings, config: EncoderConfig) -> None:
        super().__init__()
        self.cls_token, self.position_embeddings = embeddings.cls_token, embeddings.position_embeddings
        self.patch_size, self.image_size = config.patch_size, config.image_size
        self.interpolates = config.pretrain_grid != config.grid

    def forward(self, patches: Tensor) -> Tensor:
        """(B, HW, C) -> (B, 1 + HW, C)."""
        tokens = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        if self.interpolates:
            return tokens + INTERPOLATED(self, tokens, *self.image_size)
        return tokens + self.position_embeddings


class Masking(nn.Module):
    """ViTMAEEmbeddings without its patches: positions, masking, a class token in front."""

    lets_go = True

    def __init__(self, embeddings: ViTMAEEmbeddings) -> None:
        super().__init__()
        self.cls_token, self.position_embeddings = embeddings.cls_token, embeddings.position_embeddings
        self.masked = embeddings.random_masking

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, C) -> (B, 1 + visible, C), the order that restores the patches and the mask: (B, L), each."""
        patches = entering.pop() + self.position_embeddings[:, 1:, :]
        patches, mask, restore = self.masked(patches)
        token = self.cls_token + self.position_embeddings[:, :1, :]
        return torch.cat((token.expand(patches.shape[0], -1, -1), patches), dim=1), restore, mask


class IntoDecoder(nn.Module):
    """The norm of the encoder, then ViTMAEDecoder up to its layers."""

    lets_go = True

    def __init__(self, norm: nn.LayerNorm, decoder: ViTMAEDecoder) -> None:
        super().__init__()
        self.norm, self.decoder_embed = norm, decoder.decoder_embed
        self.mask_token, self.decoder_pos_embed = decoder.mask_token, decoder.decoder_pos_embed

    def forward(self, entering: list[Tensor], restore: Tensor, _mask: Tensor) -> tuple[Tensor, ...]:
        """(B, 1 + visible, C) -> (B, 1 + L, D), and what names of the model hold."""
        latent = self.norm(entering[0])
        entering.clear()
        x = self.decoder_embed(latent)
        masks = self.mask_token.repeat(x.shape[0], restore.shape[1] + 1 - x.shape[1], 1)
        patches = torch.cat([x[:, 1:, :], masks], dim=1)
        patches = torch.gather(patches, dim=1, index=restore.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        x = torch.cat([x[:, :1, :], patches], dim=1)
        x = x + self.decoder_pos_embed
        return x, latent, masks, patches


class Prediction(nn.Module):
    """ViTMAEDecoder from its norm on."""

    lets_go = True

    def __init__(self, decoder: ViTMAEDecoder) -> None:
        super().__init__()
        self.decoder_norm, self.decoder_pred = decoder.decoder_norm, decoder.decoder_pred

    def forward(self, entering: list[Tensor], *_held: Tensor) -> Tensor:
        """(B, 1 + L, D) -> (B, L, p * p * in_chans)."""
        x = self.decoder_norm(entering.pop())
        return cast("Tensor", self.decoder_pred(x)[:, 1:, :])


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    if config.pos_embed == "class_token":
        return _of_vit(ViTModel(settings(config, ViTConfig), add_pooling_layer=False), config)
    made = settings(config, ViTMAEConfig)
    if len(config.stages) == 1:
        model = ViTMAEModel(made)
        return {**_of_encoder(model), "norm": model.layernorm}
    whole = ViTMAEForPreTraining(made)
    decoder, depth = whole.decoder, config.stages[0].depth
    return {
        **_of_encoder(whole.vit),
        "transitions.1": IntoDecoder(whole.vit.layernorm, decoder),
        **{f"blocks.{index}": layer for index, layer in enumerate(decoder.decoder_layers, depth)},
        "neck": Prediction(decoder),
    }


def _of_vit(model: ViTModel, config: EncoderConfig) -> dict[str, nn.Module]:
    return {
        "patch_embed": model.embeddings.patch_embeddings,
        "pos_embed": Positions(model.embeddings, config),
        **{f"blocks.{index}": layer for index, layer in enumerate(model.layers)},
        "norm": model.layernorm,
    }


def _of_encoder(model: ViTMAEModel) -> dict[str, nn.Module]:
    return {
        "patch_embed": model.embeddings.patch_embeddings,
        "pos_embed": Masking(model.embeddings),
        **{f"blocks.{index}": layer for index, layer in enumerate(model.layers)},
    }


def settings(config: EncoderConfig, kind: Callable[..., Any]) -> Any:
    """The ViTConfig, or ViTMAEConfig, of an encoder that it can run."""
    stage, *decoders = config.stages
    masking = {"mask_ratio": config.mask_ratio} if config.pos_embed == "mae" else {}
    made = kind(
        image_size=config.pretrain_image_size or config.image_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        qkv_bias=stage.qkv_bias,
        **blocks(stage),
        **{f"decoder_{name}": value for last in decoders for name, value in blocks(last).items()},
        **masking,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made


def blocks(stage: StageConfig) -> dict[str, int]:
    """The entries of the blocks of a stage."""
    return {
        "hidden_size": stage.embed_dim,
        "num_hidden_layers": stage.depth,
        "num_attention_heads": stage.num_heads,
        "intermediate_size": stage.mlp_dim,
    }
