"""DeepSeek-OCR's compressor and projector on the Tape; in torch: `samattn_cli/families/deep_encoder/stack.py`.

Shapes: B batch, H x W grid, h x w the compressed grid, N = 1 + hw tokens, C width of SAM's blocks, D of CLIP's.
"""

from __future__ import annotations

from math import prod

from ...encoder.plan import PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import INT64_BYTES
from ..vit.tape import neck_of
from .words import sam_channels


def compressor(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """(B, H, W, C) -> CLIP's normed embeddings (B, N, D), and the features that they are made from (B, D, h, w)."""
    D = part.leaving.dim
    with tape.module("neck"):
        necked = neck_of(tape, x, D // 4)
    halved = tape.conv2d("net_2", necked, D // 2, 3, stride=2, padding=1, bias=False)
    features = tape.conv2d("net_3", halved, D, 3, stride=2, padding=1, bias=False)
    tape.free(necked, halved)
    embedded = embeddings(tape, features, 1 + prod(part.leaving.grid))
    normed = tape.layer_norm("pre_layrnorm", embedded)
    tape.free(embedded)
    return normed, features


def embeddings(tape: Tape, features: Tensor, N: int) -> Tensor:
    """Puts a class token first, then adds CLIP's positions by lookup: (B, D, h, w) -> (B, N, D)."""
    B, D = features.shape[:2]
    token = tape.used_weight("class_embedding", D).expand_to(B, 1, D)
    tokens = tape.cat("cat", (token, flat(features)), dim=1)
    index = tape.buffer(1, N, item_bytes=INT64_BYTES)
    with tape.module("position_embedding"):
        positions = tape.gather("", tape.parameter("weight", N, D), (index,), 1, N, D)
    out = tape.add("add", tokens, positions)
    tape.free(tokens, positions)
    return out


def flat(features: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, hw, D), a view."""
    B, D, h, w = features.shape
    return features.view(B, D, h * w).transpose(1, 2)


def projector(tape: Tape, x: Tensor, part: PartConfig, features: Tensor) -> Tensor:
    """Joins CLIP's tokens, without the class token, with the features and projects: (B, N, D) -> (B, hw, out_chans)."""
    joined = tape.cat("cat", (x.slice(1, 1), flat(features)))
    out = tape.linear("layers", joined, part.leaving.dim)
    tape.free(joined)
    return out


def sam_neck(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, h, w)."""
    channels, doubled, out_chans = sam_channels(part.config)
    with tape.module("neck"):
        necked = neck_of(tape, x, channels)
    halved = tape.conv2d("net_2", necked, doubled, 3, stride=2, padding=1, bias=False)
    tape.free(necked)
    out = tape.conv2d("net_3", halved, out_chans, 3, stride=2, padding=1, bias=False)
    tape.free(halved)
    return out


TRANSITIONS = {"deepseek_compressor": compressor}
NECKS = {"deepseek": projector, "deepseek_sam": sam_neck}
