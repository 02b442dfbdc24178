"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders of transformers, cut into the parts of the plan.

Source: transformers 5.23.0, models/minicpmv4_6/modeling_minicpmv4_6.py, models/muse_glimmer/modeling_muse_glimmer.py and
vision_utils.py. The models are called with the sizes of images on the host, which reads them; Muse Glimmer's with positions,
and what interpolates the learned ones, that are on the device already ("position_ids", "interp_indices", "interp_weights").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.minicpmv4_6.configuration_minicpmv4_6 import MiniCPMV4_6VisionConfig
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import (
    MiniCPMV4_6VisionModel,
    MiniCPMV4_6ViTWindowAttentionMerger,
)
from transformers.models.muse_glimmer.configuration_muse_glimmer import MuseGlimmerVisionConfig
from transformers.models.muse_glimmer.modeling_muse_glimmer import (
    MuseGlimmerVisionModel,
    MuseGlimmerVisionPatchEmbedder,
)
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_nearest_position_ids,
    get_vision_position_ids,
    get_vision_window_index,
)

from ...encoder.model import EncoderConfig
from .words import MINICPM, SIDE

ON_HOST = torch.device("cpu")
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


class Ends:
    """Ends of sequences on the device, whose numbers are known on the host: on the meta device nothing can be read."""

    def __init__(self, on_device: Tensor, on_host: Tensor) -> None:
        self.on_device, self.on_host = on_device, on_host

    def __getitem__(self, at: slice) -> Ends:
        return Ends(self.on_device[at], self.on_host[at])

    def __sub__(self, other: Ends) -> Ends:
        return Ends(self.on_device - other.on_device, self.on_host - other.on_host)

    def tolist(self) -> list[int]:
        """The numbers."""
        return cast("list[int]", self.on_host.tolist())

    def to(self, device: torch.device) -> Ends:
        """Copied to a device."""
        return Ends(self.on_host.to(device), self.on_host)


def sizes(config: EncoderConfig, *, halvings: int = 0) -> Tensor:
    """(rows, columns) of patches of each image, on the host, after mergers."""
    grid = [side // SIDE**halvings for side in config.grid]
    return torch.tensor([grid] * config.run.batch_size, device=ON_HOST)


def grids(config: EncoderConfig) -> Tensor:
    """(frames, rows, columns) of patches of each image, on the host."""
    return F.pad(sizes(config), (1, 0), value=1)


def ends_on_host(target_sizes: Tensor) -> Tensor:
    """The model's sums of tokens, with a 0 in front."""
    return F.pad(torch.cumsum(target_sizes[:, 0] * target_sizes[:, 1], dim=0, dtype=torch.int32), (1, 0))


def ends_on_device(target_sizes: Tensor, device: torch.device) -> Tensor:
    """The same, as the model makes them."""
    return F.pad(
        torch.cumsum(target_sizes[:, 0] * target_sizes[:, 1], dim=0, dtype=torch.int32).to(device), (1, 0)
    )


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


class WindowEnds(Ends):
    """Ends of windows that are on the host alone as yet."""

    def __init__(self, on_host: Tensor) -> None:
        super().__init__(on_host, on_host)

    def numel(self) -> int:
        """How many there are."""
        return self.on_host.numel()


class OrderedPositions(nn.Module):
    """MuseGlimmerVisionPatchEmbedder from its positions on, then the model's forward up to its blocks."""

    lets_go = True
    shares: Tensor

    def __init__(self, model: MuseGlimmerVisionModel, config: EncoderConfig) -> None:
        super().__init__()
        embedder, grid = model.patch_embedder, grids(config)
        self.position_embedding, self.ln_pre = embedder.position_embedding_table, model.ln_pre
        self.rotary_emb = model.rotary_emb
        self.order = window_order(config)[0]
        device = embedder.position_embedding_table.weight.device
        with ON_HOST:
            taps, shares = interpolation(embedder, grid)
            position_ids = get_vision_position_ids(grid, spatial_merge_size=1)
        for name, each in (("taps", taps), ("shares", shares), ("position_ids", position_ids)):
            self.register_buffer(name, each.to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OrderedPositions:
        """The shares stay in float32, whatever the type of the model is."""
        shares = self.shares
        super()._apply(fn, recurse)
        self.shares = shares.to(self.shares.device)
        return self

    def forward(self, entering: list[Tensor]) -> tuple[Tensor, ...]:
        """(T, C) -> the tokens in the order of windows, cosines and sines (T, d), what entered the norm, positions."""
        embeds = self._placed(entering)
        x = self.ln_pre(embeds)
        x = x[self.order, :]
        position_ids = cast("Tensor", self.position_ids).flip(-1) + 1
        position_ids = position_ids[self.order, :]
        cos, sin = self.rotary_emb(x, position_ids)
        return x, cos, sin, embeds, position_ids

    def _placed(self, entering: list[Tensor]) -> Tensor:
        pos_embeds = (self.position_embedding(self.taps) * self.shares[:, :, None]).sum(1)
        embeddings = entering.pop()
        return embeddings + pos_embeds.to(embeddings.dtype)


def interpolation(embedder: MuseGlimmerVisionPatchEmbedder, grid: Tensor) -> tuple[Tensor, Tensor]:
    """The taps of the positions, and their shares: (T, 4) each."""
    return get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=embedder.num_grid_per_side,
        mode=embedder.interpolation_mode,
        align_corners=embedder.interpolation_align_corners,
        padding=embedder.interpolation_padding,
    )


def window_order(config: EncoderConfig) -> tuple[Tensor, Tensor]:
    """The order of tokens, and the ends of windows, on the host."""
    with ON_HOST:
        return get_vision_window_index(
            grids(config), spatial_merge_size=1, window_size=config.pretrain_grid[0], patch_size=1
        )


class Rotated(nn.Module):
    """A MuseGlimmerVisionEncoderLayer over the images or their windows, whose `ends` are sums of tokens."""

    def __init__(self, block: nn.Module, ends: Tensor) -> None:
        super().__init__()
        self.block, self.ends = block, ends

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, _embeds: Tensor, _ids: Tensor) -> Tensor:
        """(T, C) with positions (T, d) -> (T, C)."""
        return cast("Tensor", self.block(x, cu_seqlens=self.ends, position_embeddings=(cos, sin)))


class Shuffle(nn.Module):
    """The model's forward after its blocks."""

    lets_go = True

    def __init__(self, model: MuseGlimmerVisionModel, config: EncoderConfig) -> None:
        super().__init__()
        self.ln_post, self.merge_size = model.ln_post, model.merge_size
        self.back, self.grids = torch.argsort(window_order(config)[0]), grids(config)

    def forward(self, entering: list[Tensor], *_taps: Tensor) -> Tensor:
        """(T, C) -> (T / 4, 4 * C)."""
        x = entering.pop()
        x = x[self.back, :]
        x = self.ln_post(x)
        model: Any = MuseGlimmerVisionModel
        with ON_HOST:
            return cast("Tensor", model.pixel_shuffle(self, x, self.grids))


def parts(config: EncoderConfig) -> dict[str, nn.Module]:
    """Its modules by the names of the plan."""
    return _of_minicpm(config) if config.stages[0].block == MINICPM else _of_muse(config)


def _of_minicpm(config: EncoderConfig) -> dict[str, nn.Module]:
    model = MiniCPMV4_6VisionModel(minicpm_settings(config))
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


def minicpm_settings(config: EncoderConfig) -> MiniCPMV4_6VisionConfig:
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


def _of_muse(config: EncoderConfig) -> dict[str, nn.Module]:
    model = MuseGlimmerVisionModel(muse_settings(config))
    of_windows, of_images = window_order(config)[1], get_vision_cu_seqlens(grids(config))
    ends = [of_images if layer.is_global else of_windows for layer in config.layers]
    return {
        "patch_embed": model.patch_embedder.patch_embedding,
        "pos_embed": OrderedPositions(model, config),
        **{f"blocks.{index}": Rotated(block, ends[index]) for index, block in enumerate(model.layers)},
        "neck": Shuffle(model, config),
    }


def muse_settings(config: EncoderConfig) -> MuseGlimmerVisionConfig:
    """The MuseGlimmerVisionConfig of an encoder that it can run."""
    (stage,) = config.stages
    side = config.pretrain_grid[0]
    made = MuseGlimmerVisionConfig(
        patch_size=config.patch_size,
        pos_emb_height=side,
        pos_emb_width=side,
        max_position_embeddings=side**2,
        num_attention_heads=stage.num_heads,
        num_hidden_layers=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        hidden_act=ACTIVATIONS[stage.mlp],
        layer_types=["full_attention" if layer.is_global else "window_attention" for layer in config.layers],
    )
    made._attn_implementation = config.run.attention  # noqa: SLF001 - a keyword that no type checker knows
    return made
