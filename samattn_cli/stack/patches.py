"""Non-overlapping patches of images, and of videos and volumes, which are padded to whole patches.

Source: PatchEmbed of segment-anything, modeling/image_encoder.py; PatchEmbed3D of SwinTransformer/Video-Swin-Transformer,
mmaction/models/backbones/swin_transformer.py; PatchEmbed of MONAI 1.6.1, monai/networks/blocks/patchembedding.py.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..encoder.keys import Size
from ..encoder.plan import PartConfig
from .windows import padded


def patch_convolution(part: PartConfig, *, bias: bool = True) -> nn.Module:
    """The convolution whose kernel and stride are a patch."""
    config = part.config
    kind: Any = nn.Conv2d if len(config.patch) == len("HW") else nn.Conv3d
    made: nn.Module = kind(
        config.in_chans, part.leaving.dim, kernel_size=config.patch, stride=config.patch, bias=bias
    )
    return made


def in_whole_patches(x: Tensor, patch: Size) -> Tensor:
    """An image as it is; a video (B, in_chans, frames, height, width) with zeros at its ends up to whole patches."""
    return x if len(patch) == len("HW") else padded(x[..., None], (1, *patch))[..., 0]
