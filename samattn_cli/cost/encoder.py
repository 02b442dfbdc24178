"""Patch embedding, position embedding, blocks and neck on the Tape; in torch: `samattn_cli/nn/encoder.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from ..config.keys import Pair
from ..config.model import EncoderConfig, LayerConfig, StageConfig
from ..units import ITEM_BYTES
from . import autograd, vit
from .graph import Node
from .ops import Recording
from .tape import Tape
from .tensor import Dim, Shape, Storage, Tensor


@dataclass(frozen=True)
class Segment:
    """A part of the encoder or a block: what it does, and the module of the real stack whose names it has.

    `entry` is the storage of its input; a segment `is_checkpointed` where a training step keeps nothing else of it.
    """

    name: str
    module: str
    recording: Recording
    entry: Storage
    output: Tensor
    layer: LayerConfig | None = None
    is_checkpointed: bool = False

    def qualified(self, name: str) -> str:
        """The name of a module or weight in the whole encoder."""
        return ".".join(part for part in (self.module, name) if part)


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass of an encoder: its segments in order, and the image that goes in."""

    config: EncoderConfig
    image: Tensor
    segments: tuple[Segment, ...]

    @cached_property
    def params(self) -> Dim:
        """Numbers in the weights."""
        return sum(segment.recording.params for segment in self.segments)

    @cached_property
    def macs(self) -> Dim:
        """MACs of matrix products and convolutions."""
        return sum(segment.recording.macs for segment in self.segments)

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return sum(segment.recording.flops for segment in self.segments)

    @cached_property
    def elementwise_flops(self) -> Dim:
        """FLOPs of everything else."""
        return sum(segment.recording.elementwise_flops for segment in self.segments)


def forward(config: EncoderConfig, *, training: bool = False) -> ForwardPass:
    """Run the encoder of `config` on the Tape, with autograd on for `training`.

    Blocks of one kind are run once: their segments share one recording.
    """
    return _forward(
        config, training and config.run.attention != "eager"
    )  # eager attention makes no more for it


@lru_cache(maxsize=32)
def _forward(config: EncoderConfig, training: bool) -> ForwardPass:
    run = config.run
    low = None if run.autocast == "none" else ITEM_BYTES[run.product_dtype]
    half = run.autocast == "float16"
    tape = Tape(ITEM_BYTES[run.dtype], autocast_bytes=low, half_to_float=half, training=training)
    image = tape.tensor(run.batch_size, config.in_chans, *config.image_size)
    return ForwardPass(config, image, tuple(_segments(tape, image, config)))


def backward(forward_pass: ForwardPass) -> tuple[Recording, ...]:
    """Run the backward of a forward pass on the Tape: a recording for each segment, in the order of the forward.

    It begins with a contiguous gradient of the output, as a decoder would hand it over; the caller keeps that, the
    output and the image. Segments that share a forward recording share that of their backward.
    """
    tape = Tape(forward_pass.image.item_bytes)
    last = forward_pass.segments[-1]
    gradient = tape.tensor_like(last.output)
    passed: dict[tuple[Recording, Shape, bool, bool], tuple[Recording, Tensor]] = {}
    recordings = []
    for segment in reversed(forward_pass.segments):
        if segment.output.grad_fn is None:  # nothing in it or before it trains
            recordings.append(Recording(()))
            continue
        kind = (segment.recording, gradient.stride, gradient.is_view, segment is last)
        if kind not in passed:
            held = (segment.output.storage, gradient.storage) if segment is last else ()
            gradient = autograd.backward(
                tape,
                segment.output,
                gradient,
                (forward_pass.image.storage, *held),
                checkpoint=segment.entry if segment.is_checkpointed else None,
            )
            passed[kind] = tape.recording(), gradient
        recording, gradient = passed[kind]
        recordings.append(recording)
    return tuple(reversed(recordings))


def _segments(tape: Tape, image: Tensor, config: EncoderConfig) -> Iterator[Segment]:
    x = patch_embed(tape, image, config)
    yield Segment("patch_embed", "patch_embed", tape.recording(), image.storage, x)
    if config.pos_embed == "learned":
        entry = x.storage
        x = pos_embed(tape, _entering(x), config)
        yield Segment("pos_embed", "", tape.recording(), entry, x)
    passed: dict[tuple[StageConfig, Pair, bool], tuple[Recording, Storage, Tensor]] = {}
    for layer in config.layers:
        kind = (layer.stage, layer.window_size, x.grad_fn is None)
        if kind not in passed:
            out = vit.block(tape, _entering(x), layer, config.run.attention)
            passed[kind] = tape.recording(), x.storage, out
        recording, entry, x = passed[kind]
        yield Segment(layer.name, layer.name, recording, entry, x, layer, config.run.checkpointing)
    if config.neck == "sam":
        out = sam_neck(tape, _entering(x), config)
        yield Segment("neck", "neck", tape.recording(), x.storage, out)


def _entering(x: Tensor) -> Tensor:
    """`x` as the input of a segment, at which its backward ends, if it gets that far."""
    return x if x.grad_fn is None else replace(x, grad_fn=(Node(None), 0))


def patch_embed(tape: Tape, image: Tensor, config: EncoderConfig) -> Tensor:
    """Non-overlapping patches to vectors: (B, in_chans, height, width) -> (B, H, W, C)."""
    width, patch = config.stages[0].embed_dim, config.patch_size
    return tape.conv2d("proj", image, width, patch, stride=patch).permute(0, 2, 3, 1)


def pos_embed(tape: Tape, x: Tensor, config: EncoderConfig) -> Tensor:
    """Add one learned vector per patch: (B, H, W, C) -> the same."""
    weight = tape.parameter("pos_embed", 1, *config.grid, x.shape[-1])
    out = tape.add_weight("pos_embed", x, weight)
    tape.free(x)
    return out


def sam_neck(tape: Tape, x: Tensor, config: EncoderConfig) -> Tensor:
    """1x1 convolution, norm, 3x3 convolution, norm: (B, H, W, C) -> (B, out_chans, H, W)."""
    y = tape.conv2d("0", x.permute(0, 3, 1, 2), config.out_chans, 1, bias=False)
    normed = layer_norm_2d(tape, "1", y)
    tape.free(y)
    y = tape.conv2d("2", normed, config.out_chans, 3, padding=1, bias=False)
    tape.free(normed)
    out = layer_norm_2d(tape, "3", y)
    tape.free(y, x)
    return out


def layer_norm_2d(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Layer norm over the channels of (B, C, H, W), written out as in SAM's code."""
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
