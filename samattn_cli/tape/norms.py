"""Norms that families write as several operations; in torch: `samattn_cli/stack/norms.py`."""

from __future__ import annotations

from ..units import ITEM_BYTES
from .tape import Tape
from .tensor import Tensor


def layer_norm_2d(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Layer norm over the channels of (B, C, H, W), as several operations like in SAM's code."""
    with tape.module(name):
        mean = tape.mean("mean", x, dim=1)
        centred = tape.sub("centre", x, mean)
        squared = tape.square("square", centred)
        tape.free(centred)
        variance = tape.mean("variance", squared, dim=1)
        tape.free(squared)
        centred = tape.sub("centre_again", x, mean)
        with_eps = tape.add_number("eps", variance)
        std = tape.sqrt("sqrt", with_eps)
        tape.free(with_eps)
        normed = tape.div("divide", centred, std)
        tape.free(centred, std)
        channels = x.shape[1]
        per_channel = (channels, 1, 1)
        scaled = tape.scale_by_weight("weight", normed, tape.parameter("weight", channels), per_channel)
        out = tape.add_weight("bias", scaled, tape.parameter("bias", channels), per_channel)
        tape.free(scaled, normed, mean, variance)
    return out


def rms_norm(tape: Tape, name: str, x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, in float32, with the operations of transformers (Qwen2_5_VLRMSNorm)."""
    with tape.module(name):
        wide = tape.cast("float", x, ITEM_BYTES["float32"])
        squared = tape.square("square", wide)
        variance = tape.mean("variance", squared, dim=len(x.shape) - 1)
        tape.free(squared)
        with_eps = tape.add_number("eps", variance)
        root = tape.rsqrt("rsqrt", with_eps)
        tape.free(with_eps)
        normed = tape.mul("normed", wide, root)
        tape.free(root)
        tape.free(wide, keep=x)
        low = tape.cast("cast", normed, x.item_bytes)
        out = tape.mul("weight", tape.used_weight("weight", x.shape[-1]), low)
        tape.free(variance, normed, low)
    return out
