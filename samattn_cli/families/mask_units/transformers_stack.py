"""Hiera of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/hiera/modeling_hiera.py.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import HieraConfig, HieraForImageClassification, HieraModel
from transformers.models.hiera.modeling_hiera import HieraEmbeddings, HieraLayer, HieraPooler, unroll

from ...encoder.model import EncoderConfig
from ...encoder.registry import NONE
from .shape import levels, stride, unit_side


class Patches(nn.Module):
    """HieraEmbeddings without positions."""

    def __init__(self, embeddings: HieraEmbeddings) -> None:
        super().__init__()
        self.patch_embeddings = embeddings.patch_embeddings

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, HW, C)."""
        return cast("Tensor", self.patch_embeddings(image)[0])


class Positions(nn.Module):
    """The positions of HieraEmbeddings, and the order of mask units, as HieraModel calls it."""

    lets_go = True

    def __init__(self, embeddings: HieraEmbeddings, config: EncoderConfig) -> None:
        super().__init__()
        self.position_embeddings, self.image_size = embeddings.position_embeddings, config.image_size
        self.patch_stride = (config.patch_size,) * 2
        self.schedule = [[stride(config)] * 2] * levels(config)

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(B, HW, C) -> the tokens in the order of mask units, and as they were before: (B, HW, C) each."""
        embedded = entering.pop() + self.position_embeddings
        ordered = unroll(embedded, self.image_size, self.patch_stride, self.schedule)
        return ordered, embedded


class Layer(nn.Module):
    """A HieraLayer, without the probabilities that it does not return."""

    def __init__(self, layer: HieraLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', D)."""
        return cast("Tensor", self.layer(x)[0])


class Pooled(nn.Module):
    """HieraPooler, and the tokens that HieraModel returns too."""

    def __init__(self, pooler: HieraPooler) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) -> (B, C), and `x`, which nothing reads."""
        return self.pooler(x), x.detach()


class Classes(nn.Module):
    """HieraPooler and the classifier, before which HieraModel has returned."""

    lets_go = True

    def __init__(self, model: HieraForImageClassification) -> None:
        super().__init__()
        self.pooler, self.classifier = model.hiera.pooler, model.classifier

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, N, C) -> (B, classes)."""
        pooled = self.pooler(entering[0])
        del entering[1:]
        return cast("Tensor", self.classifier(pooled))


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    made = settings(config)
    if config.neck == "hiera_classifier":
        whole = HieraForImageClassification(made)
        return {**_of_encoder(whole.hiera, config), "neck": Classes(whole)}
    model = HieraModel(made, add_pooling_layer=config.neck != NONE)
    neck = {} if model.pooler is None else {"neck": Pooled(model.pooler)}
    return {**_of_encoder(model, config), **neck}


def _of_encoder(model: HieraModel, config: EncoderConfig) -> dict[str, nn.Module]:
    layers = [layer for stage in model.encoder.stages for layer in stage.layers]
    return {
        "patch_embed": Patches(model.embeddings),
        "pos_embed": Positions(model.embeddings, config),
        **{f"blocks.{index}": Layer(layer) for index, layer in enumerate(layers)},
    }


def settings(config: EncoderConfig, **more: Any) -> HieraConfig:
    """The HieraConfig of an encoder that it can run."""
    stages, patch, side = config.stages, config.patch_size, stride(config)
    first = stages[0]
    return HieraConfig(
        embed_dim=first.embed_dim,
        image_size=list(config.image_size),
        patch_size=[2 * patch - 1] * 2,
        patch_stride=[patch] * 2,
        patch_padding=[patch - 1] * 2,
        mlp_ratio=first.mlp_ratio,
        depths=[stage.depth for stage in stages],
        num_heads=[stage.num_heads for stage in stages],
        embed_dim_multiplier=stages[1].embed_dim / first.embed_dim if len(stages) > 1 else 1.0,
        num_query_pool=sum(stage.q_stride != 1 for stage in stages),
        query_stride=[side] * 2,
        masked_unit_size=[unit_side(config)] * 2,
        masked_unit_attention=[not stage.placement.is_global for stage in stages],
        num_channels=config.in_chans,
        num_labels=config.out_chans,
        **more,
    )
