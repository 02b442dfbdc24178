"""MiniCPM-V 4.6's vision encoder of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/minicpmv4_6/modeling_minicpmv4_6.py and vision_utils.py. The model is called with the sizes
of images on the host, which reads them.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers.models.minicpmv4_6.configuration_minicpmv4_6 import MiniCPMV4_6VisionConfig
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import (
    MiniCPMV4_6VisionModel,
    MiniCPMV4_6ViTWindowAttentionMerger,
)
from transformers.vision_utils import get_vision_nearest_position_ids

from ...encoder.model import EncoderConfig
from .transformers_sizes_stack import (
    ACTIVATIONS,
    ON_HOST,
    Ends,
    WindowEnds,
    ends_on_device,
    ends_on_host,
    sizes,
)


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    model = MiniCPMV4_6VisionModel(settings(config))
    first = config.stages[0].depth
    return {
        "patch_embed": Patches(model),
        "pos_embed": NearestPositions(model, config),
        **{
            f"blocks.{index}": Sequences(block, config, int(index >= first))
            for index, block in enumerate(model.encoder.layers)
        },
        "transitions.1": WindowMerger(model, config),
        "norm": model.post_layernorm,
    }


def settings(config: EncoderConfig) -> MiniCPMV4_6VisionConfig:
    """The MiniCPMV4_6VisionConfig of an encoder that it can run."""
    first, last = config.stages
    made = MiniCPMV4_6VisionConfig(
        hidden_size=first.embed_dim,
        intermediate_size=first.mlp_dim,
        num_hidden_layers=first.depth + last.depth,
        num_attention_heads=first.num_heads,
        num_channels=config.in_chans,
        image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        hidden_act=ACTIVATIONS[first.mlp],
        insert_layer_id=first.depth - 1,
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made


class Patches(nn.Module):
    """MiniCPMV4_6VisionEmbeddings up to its positions."""

    def __init__(self, model: MiniCPMV4_6VisionModel) -> None:
        super().__init__()
        self.patch_embedding = model.embeddings.patch_embedding

    def forward(self, x: Tensor) -> Tensor:
        """(1, in_chans, p, T * p) -> (1, T, C)."""
        return cast("Tensor", self.patch_embedding(x).flatten(2).transpose(1, 2))


class NearestPositions(nn.Module):
    """MiniCPMV4_6VisionEmbeddings from its positions on, then the model's ends of images."""

    lets_go = True

    def __init__(self, model: MiniCPMV4_6VisionModel, config: EncoderConfig) -> None:
        super().__init__()
        self.position_embedding = model.embeddings.position_embedding
        self.sizes, self.side = sizes(config), config.pretrain_grid[0]

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(1, T, C) -> (1, T, C), and the ends."""
        x = self._placed(entering[0])
        entering.clear()
        return x, ends_on_device(self.sizes, x.device)

    def _placed(self, x: Tensor) -> Tensor:
        with ON_HOST:
            pos_ids = get_vision_nearest_position_ids(self.sizes, self.side)
        pos_ids = pos_ids.to(x.device)
        positions = self.position_embedding(pos_ids).unsqueeze(0)
        return cast("Tensor", x + positions)


class Sequences(nn.Module):
    """A MiniCPMV4_6VisionEncoderLayer over images."""

    def __init__(self, block: nn.Module, config: EncoderConfig, halvings: int) -> None:
        super().__init__()
        self.block, self.on_host = block, ends_on_host(sizes(config, halvings=halvings))

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """(1, T, C) -> (1, T, C)."""
        cu_seqlens = Ends(ends, self.on_host)
        return cast("Tensor", self.block(x, attention_mask=None, cu_seqlens=cu_seqlens, max_seqlen=None))


class WindowMerger(nn.Module):
    """The model's merger, then its ends of the smaller images; those take the place of the larger, which live on here."""

    lets_go = True

    def __init__(self, model: MiniCPMV4_6VisionModel, config: EncoderConfig) -> None:
        super().__init__()
        self.merger: Any = model.vit_merger
        self.sizes, self.halved = sizes(config), sizes(config, halvings=1)

    def forward(self, entering: list[Tensor], _ends: Tensor) -> Tensor:
        """(1, T, C) -> (1, T / 4, C)."""
        merged = self._merged(entering[0])
        entering.clear()
        ends_on_device(self.halved, merged.device)
        return merged

    def _merged(self, x: Tensor) -> Tensor:
        with KnownLengths(self.merger):
            return cast("Tensor", self.merger(x, self.sizes))


class KnownLengths:
    """While it runs, the merger's ends of windows are `Ends`."""

    def __init__(self, merger: MiniCPMV4_6ViTWindowAttentionMerger) -> None:
        self.merger = merger

    def __enter__(self) -> None:
        self.merger.get_window_index = self._window_index

    def __exit__(self, *_: object) -> None:
        del self.merger.get_window_index

    def _window_index(self, target_sizes: Tensor, kwargs: Any = None) -> tuple[Tensor, Any, int]:
        with ON_HOST:
            index, ends, most = type(self.merger).get_window_index(self.merger, target_sizes, kwargs=kwargs)
        return index, WindowEnds(ends), most
