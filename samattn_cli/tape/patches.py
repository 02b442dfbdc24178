"""Non-overlapping patches on the Tape; in torch: `samattn_cli/stack/patches.py`."""

from __future__ import annotations

from ..encoder.plan import PartConfig
from .tape import Tape
from .tensor import IMAGE_DIMS, Tensor


def patches_of(tape: Tape, image: Tensor, part: PartConfig, *, bias: bool = True) -> Tensor:
    """(B, in_chans, height, width) -> (B, H, W, C), a view; videos are padded to whole patches."""
    patch, C = part.config.patch, part.leaving.dim
    if len(image.shape) == IMAGE_DIMS:
        return _channels_last(tape.conv2d("proj", image, C, patch[0], stride=patch[0], bias=bias))
    (B, channels, *_), whole = image.shape, part.config.padded_size
    padded = tape.pad("pad", image, B, channels, *whole) if whole != part.config.image_size else image
    out = tape.conv3d("proj", padded, C, patch, bias=bias)
    if padded is not image:
        tape.free(padded)
    return _channels_last(out)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, *range(2, len(x.shape)), 1)
