"""What timm writes differently in DaViT; the rest is `tape.py`, of which timm is the source.

Source: timm 1.0.31, models/davit.py: Stem. Its stream is (B, C, H, W), laid out in memory as (B, H, W, C).
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from . import tape as reference


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """A block: (B, C, H, W) -> (B, C, H, W)."""
    roles = reference.ROLES[layer.stage.block]
    out = reference.block_of_image(tape, x, layer, kernel, roles=roles)
    return out.transpose(1, 2).view(*x.shape)


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Overlapping patches of a copy of the image, padded to whole strides: (B, in_chans, height, width) -> (B, C, H, W)."""
    (B, channels, *sides), patch = image.shape, part.config.patch_size
    copy = tape.pad("pad", image, B, channels, *(-(-side // patch) * patch for side in sides))
    patches = tape.conv2d("conv", copy, part.leaving.dim, 2 * patch - 1, stride=patch, padding=patch - 1)
    tape.free(copy)
    out = tape.layer_norm("norm", patches.permute(0, 2, 3, 1))
    tape.free(patches)
    return out.permute(0, 3, 1, 2)


def embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A norm, then a convolution at stride 2: (B, C, H, W) -> (B, C', H / 2, W / 2)."""
    code = reference.TRANSITIONS[part.word]
    return code(tape, x.permute(0, 2, 3, 1), part).permute(0, 3, 1, 2)


BLOCKS = {"davit": block, "florence2": block}
PATCH_EMBEDS = {"overlapping_norm": patch_embed}
TRANSITIONS = {"conv_embed": embed, "conv_embed_2x2": embed}
