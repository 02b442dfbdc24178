"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders of transformers, with a config of samattn's. Nothing is corrected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.models.minicpmv4_6.configuration_minicpmv4_6 import MiniCPMV4_6VisionConfig
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import MiniCPMV4_6VisionModel
from transformers.models.muse_glimmer.configuration_muse_glimmer import MuseGlimmerVisionConfig
from transformers.models.muse_glimmer.modeling_muse_glimmer import MuseGlimmerVisionModel
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from samattn_cli import EncoderConfig, load_config
from samattn_cli.families.packed_vit.importing import minicpm_names, muse_names
from samattn_cli.stack.encoder import image_for
from tests.public.counting import counted
from tests.public.record import Changes, Record

PRESETS = ("minicpm_v_4_6", "muse_glimmer")
ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def minicpm(config: EncoderConfig, device: str = "cpu", attention: str = "eager") -> MiniCPMV4_6VisionModel:
    """MiniCPM-V's, in evaluation mode."""
    first, last = config.stages
    theirs = MiniCPMV4_6VisionConfig(
        hidden_size=first.embed_dim,
        intermediate_size=first.mlp_dim,
        num_hidden_layers=first.depth + last.depth,
        num_attention_heads=first.num_heads,
        num_channels=config.in_chans,
        image_size=config.pretrain_grid[0] * config.patch_size,
        patch_size=config.patch_size,
        hidden_act=ACTS[first.mlp],
        insert_layer_id=first.depth - 1,
    )
    theirs._attn_implementation = attention
    with torch.device(device):
        return MiniCPMV4_6VisionModel(theirs).eval()


def muse(config: EncoderConfig, device: str = "cpu", attention: str = "eager") -> MuseGlimmerVisionModel:
    """Muse Glimmer's, in evaluation mode."""
    (stage,), side = config.stages, config.pretrain_grid[0]
    theirs = MuseGlimmerVisionConfig(
        patch_size=config.patch_size,
        pos_emb_height=side,
        pos_emb_width=side,
        num_attention_heads=stage.num_heads,
        num_hidden_layers=stage.depth,
        hidden_size=stage.embed_dim,
        intermediate_size=stage.mlp_dim,
        hidden_act=ACTS[stage.mlp],
        layer_types=["full_attention" if layer.is_global else "window_attention" for layer in config.layers],
    )
    theirs._attn_implementation = attention
    with torch.device(device):
        return MuseGlimmerVisionModel(theirs).eval()


def sizes_of(config: EncoderConfig) -> Tensor:
    """(rows, columns) of patches of each image, on the host."""
    return torch.tensor([config.grid] * config.run.batch_size, device="cpu")


def grids_of(config: EncoderConfig) -> Tensor:
    """(frames, rows, columns) of patches of each image, on the host."""
    return torch.tensor([[1, *config.grid]] * config.run.batch_size, device="cpu")


class Lengths(TorchFunctionMode):
    """Says what lengths of images and windows are that MiniCPM-V's code reads from the meta device, layer after layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = self._read()

    def _read(self) -> Iterator[int]:
        first, last = self.config.stages
        tokens = prod(self.config.grid)
        for length in (*[tokens] * first.depth, 4, *[tokens // 4] * last.depth):
            yield from [length] * len("qkv")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The lengths, or what `func` returns."""
        if func is Tensor.tolist and args[0].is_meta:
            return [next(self.reads)] * args[0].numel()
        return func(*args, **(kwargs or {}))


class Public(nn.Module):
    """The model of a config, with what it takes besides patches, which are `inputs` if they are on the device."""

    def __init__(self, config: EncoderConfig, device: str = "cpu", attention: str = "eager") -> None:
        super().__init__()
        self.config, self.inputs = config, ()
        self.is_minicpm = config.stages[0].block == "minicpm_v"
        self.encoder = (minicpm if self.is_minicpm else muse)(config, device, attention)
        if not self.is_minicpm:
            with torch.device("cpu"):
                made = positions_of(config)
            self.inputs = tuple(each.to(device) for each in made)

    def forward(self, image: Tensor) -> Any:
        """As transformers calls it: sizes are on the host, positions of Muse Glimmer on the device."""
        with torch.device("cpu"):
            if self.is_minicpm:
                with Lengths(self.config):
                    return self.encoder(image, target_sizes=sizes_of(self.config))
            places, taps, shares = self.inputs
            return self.encoder(
                image,
                grid_thw=grids_of(self.config),
                position_ids=places,
                interp_indices=taps,
                interp_weights=shares,
            )


def positions_of(config: EncoderConfig) -> tuple[Tensor, ...]:
    """Places of tokens, and the taps of their positions and the shares of those."""
    taps = get_vision_interpolation_indices_and_weights(
        grids_of(config), config.pretrain_grid[0], mode="bilinear", padding="zeros"
    )
    return get_vision_position_ids(grids_of(config), 1), *taps


def count(preset: str) -> tuple[int, int]:
    """Parameters and FLOPs of their encoder."""
    config = load_config(preset)
    return counted(Public(config, "meta"), image_for(config, "meta"))


def outputs(theirs: nn.Module, _: EncoderConfig, image: Tensor) -> Sequence[Tensor]:
    """Without the dimension of a batch of one that MiniCPM-V's have."""
    out = theirs(image).last_hidden_state
    return (out.reshape(-1, out.shape[-1]),)


def weights(config: EncoderConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """By samattn's names, as its imports rename them."""
    name = (minicpm_names if config.stages[0].block == "minicpm_v" else muse_names)({})
    own = {name(each.removeprefix("encoder.")): weight for each, weight in theirs.items()}
    return {each: weight for each, weight in own.items() if each is not None}


STAGE = {"block": "minicpm_v", "mlp": "gelu_tanh", "embed_dim": 16, "num_heads": 2, "mlp_ratio": 2}
MINICPM: Changes = {
    "image_size": [24, 16],
    "patch_size": 4,
    "patch_embed": "minicpm_v",
    "pos_embed": "minicpm_v",
    "pretrain_image_size": 16,
    "stages": [{**STAGE, "depth": 2}, {"transition": "window_merger", **STAGE, "depth": 1}],
    "norm": True,
}
MUSE: Changes = {
    "image_size": [40, 24],
    "patch_size": 4,
    "patch_embed": "muse_glimmer",
    "pos_embed": "muse_glimmer",
    "pretrain_image_size": 16,
    "block": "muse_glimmer",
    "embed_dim": 16,
    "depth": 3,
    "num_heads": 2,
    "mlp_ratio": 2.5,
    "window_size": 4,
    "global_attn_indexes": [2],
    "neck": "pixel_shuffle",
}
SDPA = {"run.attention": "sdpa"}
BATCH = {"run.batch_size": 2, "run.dtype": "bfloat16"}
IN_FULL: dict[str, Changes] = {
    "sdpa, two images in bfloat16": {**SDPA, **BATCH},
    "autocast": {"run.autocast": "bfloat16"},
    "sdpa, checkpointed": {**SDPA, "run.checkpointing": True},
}

RECORDS = (
    Record(
        name="MiniCPM-V 4.6",
        blocks=("minicpm_v",),
        presets=(),
        larger=("minicpm_v_4_6",),  # windows of its merger are run one by one
        count=count,
        small=MINICPM,
        public=lambda config: Public(config, "cpu", config.run.attention),
        weights=weights,
        outputs=outputs,
        values={"eager": {}, "sdpa, two images": {**SDPA, "run.batch_size": 2}},
        folded={"in training": {"run.mode": "training"}},
        in_full=IN_FULL,
        verified={"minicpm_v_4_6": {"image_size": 64}},
        bad={
            "half a merged token": (
                {"image_size": [28, 16]},
                "1:13: [not-divisible] image_size 28 16 8 2 4 24 16 32 16",
            ),
            "windows": (
                {"stages": [{**STAGE, "depth": 2, "window_size": 2}]},
                "6:111: [always-global] minicpm_v window_size",
            ),
        },
    ),
    Record(
        name="Muse Glimmer",
        blocks=("muse_glimmer",),
        presets=(),
        larger=("muse_glimmer",),
        count=count,
        small=MUSE,
        public=lambda config: Public(config, "cpu", config.run.attention),
        weights=weights,
        outputs=outputs,
        values={
            "smaller windows at the ends": {},
            "one window, sdpa, two images": {"image_size": [16, 8], **SDPA, "run.batch_size": 2},
        },
        folded={"in training": {"run.mode": "training"}},
        in_full=IN_FULL,
        verified={"muse_glimmer": {"image_size": [84, 56], "depth": 4, "global_attn_indexes": [3]}},
        bad={
            "half a merged token": (
                {"image_size": [36, 24]},
                "1:13: [not-divisible] image_size 36 24 8 2 4 32 24 40 24",
            ),
            "no positions": (
                {"pos_embed": "none", "pretrain_image_size": None},
                (
                    "5:8: [needs-pos-embed] block muse_glimmer pos_embed",
                    "12:7: [needs-pos-embed] neck pixel_shuffle pos_embed muse_glimmer",
                ),
            ),
        },
    ),
)
