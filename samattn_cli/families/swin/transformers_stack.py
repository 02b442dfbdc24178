"""Swin of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/swin/modeling_swin.py. A SwinLayer forgets its shift for good once it has seen a grid
that is not larger than its window: make its modules anew for each image size.
"""

from __future__ import annotations

from inspect import unwrap
from types import SimpleNamespace
from typing import Any, cast

from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig, SwinModel
from transformers.models.swin.modeling_swin import SwinEmbeddings, SwinLayer, SwinPatchMerging, SwinStage
from transformers.models.swinv2.modeling_swinv2 import Swinv2Embeddings

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...encoder.registry import NONE
from ...encoder.slots import ends_of_stages
from .words import ENDING, is_backbone, norm_stages

Several = Tensor | tuple[Tensor, ...]


def stem(x: Tensor, grid: Pair) -> tuple[Tensor, ...]:
    """What SwinEncoder holds for a backbone: what enters its stages, (B, HW, C), and a copy of it, (B, C, H, W)."""
    return x, x, x.view(x.shape[0], *grid, x.shape[-1]).permute(0, 3, 1, 2).contiguous()


class Patches(nn.Module):
    """SwinEmbeddings, or those of Swin V2, without positions; with the grid, what a backbone makes of them too."""

    def __init__(self, embeddings: SwinEmbeddings | Swinv2Embeddings, grid: Pair | None = None) -> None:
        super().__init__()
        self.patch_embeddings, self.norm, self.grid = embeddings.patch_embeddings, embeddings.norm, grid

    def forward(self, image: Tensor) -> Several:
        """(B, in_chans, height, width) -> (B, HW, C)."""
        tokens: Tensor = self.patch_embeddings(image)[0]
        tokens = cast("Tensor", self.norm(tokens))
        return stem(tokens, self.grid) if self.grid else tokens


class Positions(nn.Module):
    """The positions of SwinEmbeddings; with the grid, what a backbone makes of the sum too."""

    def __init__(self, embeddings: SwinEmbeddings, grid: Pair | None) -> None:
        super().__init__()
        self.position_embeddings, self.grid = cast("nn.Parameter", embeddings.position_embeddings), grid

    lets_go = True

    def forward(self, entering: list[Tensor]) -> Several:
        """(B, HW, C) -> (B, HW, C)."""
        x = entering.pop() + self.position_embeddings
        return stem(x, self.grid) if self.grid else x


class Layer(nn.Module):
    """A SwinLayer on its grid; it returns eager probabilities too."""

    def __init__(self, layer: SwinLayer, grid: Pair, kernel: str, *, always_cuts: bool) -> None:
        super().__init__()
        self.layer, self.grid, self.kernel, self.always_cuts = layer, grid, kernel, always_cuts

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, HW, C) -> (B, HW, C)."""
        tokens, probabilities = self.layer(x, self.grid, always_partition=self.always_cuts)
        return tokens if self.kernel == "sdpa" else (tokens, probabilities)


class Merging(nn.Module):
    """The end of a stage: the merging, and a copy that the stage returns: of its result, or of what it merges."""

    def __init__(self, stage: SwinStage, grid: Pair, *, of_backbone: bool) -> None:
        super().__init__()
        self.downsample, self.grid = cast("SwinPatchMerging", stage.downsample), grid
        self.copy, self.of_backbone = stage.get_reshaped_hidden_states, of_backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, HW, C) -> (B, HW / 4, C') twice, and (B, C', H / 2, W / 2) or (B, C, H, W)."""
        out = self.downsample(x, self.grid)
        return out, out, self.copy(out, x, *self.grid, self.of_backbone)


class LastStage(nn.Module):
    """The end of the last stage: such a copy, which a backbone holds."""

    def __init__(self, stage: SwinStage, grid: Pair, *, of_backbone: bool) -> None:
        super().__init__()
        self.grid, self.of_backbone = grid, of_backbone
        self.copy = stage.get_reshaped_hidden_states

    def forward(self, x: Tensor) -> Several:
        """`x`: (B, HW, C)."""
        copy = self.copy(x, x, *self.grid, self.of_backbone)
        return (x, copy) if self.of_backbone else x


class Maps(nn.Module):
    """The forward of SwinBackbone after the stages of its SwinModel have run."""

    def __init__(self, backbone: SwinBackbone) -> None:
        super().__init__()
        self.layernorm, self.norms = backbone.swin.layernorm, backbone.hidden_states_norms
        names = list(self.norms)
        self.backbone = SimpleNamespace(
            swin=self._given, stage_names=names, out_features=names, hidden_states_norms=self.norms
        )
        self.forward_of_backbone = unwrap(type(backbone).forward)

    def _given(self, made: tuple[Tensor, ...], **_: Any) -> SimpleNamespace:
        """What SwinModel returns after its stages, as far as it is read or takes memory."""
        x, *ends = made
        copies = (*ends[1:-1:2], ends[-1])
        normed = self.layernorm(x)
        return SimpleNamespace(last_hidden_state=normed, reshaped_hidden_states=copies, attentions=None)

    def forward(self, x: Tensor, *ends: Tensor) -> tuple[Tensor, ...]:
        """(B, HW, C), then what enters the next stage and the copy of each, (B, C, H, W) -> maps (B, C, H, W)."""
        return cast("tuple[Tensor, ...]", self.forward_of_backbone(self.backbone, (x, *ends)).feature_maps)


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    is_one = is_backbone(config)
    made = settings(config)
    backbone = SwinBackbone(made) if is_one else None
    model = SwinModel(made, add_pooling_layer=False) if backbone is None else backbone.swin
    stages, kernel, stem_grid = (
        list(model.encoder.layers),
        config.run.attention,
        config.grid if is_one else None,
    )
    layers = [layer for stage in stages for layer in stage.blocks]
    grids = [config.layers[index].grid for index in ends_of_stages(config)]
    ends = list(zip(stages, grids, strict=True))
    return {
        "patch_embed": Patches(model.embeddings, None if config.pos_embed != NONE else stem_grid),
        **({"pos_embed": Positions(model.embeddings, stem_grid)} if config.pos_embed != NONE else {}),
        **{
            f"blocks.{i}": Layer(layer, config.layers[i].grid, kernel, always_cuts=is_one)
            for i, layer in enumerate(layers)
        },
        **{f"transitions.{n}": Merging(*end, of_backbone=is_one) for n, end in enumerate(ends[:-1], 1)},
        ENDING: LastStage(*ends[-1], of_backbone=is_one),
        **({"norm": model.layernorm} if backbone is None else {"neck": Maps(backbone)}),
    }


def settings(config: EncoderConfig) -> SwinConfig:
    """The SwinConfig of an encoder that it can run; in evaluation, dropping paths changes nothing."""
    made = SwinConfig(
        **sizes(config),
        use_absolute_embeddings=config.pos_embed == "learned",
        drop_path_rate=0.0,
        out_features=[f"stage{stage + 1}" for stage in norm_stages(config)],
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made


def sizes(config: EncoderConfig) -> dict[str, Any]:
    """The entries of a SwinConfig that a Swinv2Config has too."""
    first, stages = config.stages[0], config.stages
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.in_chans,
        "embed_dim": first.embed_dim,
        "depths": [stage.depth for stage in stages],
        "num_heads": [stage.num_heads for stage in stages],
        "window_size": first.window_size[0],
        "mlp_ratio": first.mlp_ratio,
        "qkv_bias": first.qkv_bias,
    }
