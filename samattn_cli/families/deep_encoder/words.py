"""DeepSeek-OCR's DeepEncoder (arXiv:2510.18234): SAM's windowed blocks, a compressor, CLIP's global blocks, a projector.

Source: deepseek-ai/DeepSeek-OCR, deepencoder/sam_vary_sdpa.py, clip_sdpa.py and build_linear.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.layouts import SEQUENCE
from ...encoder.slots import Family, Part, Problem, Sliding, Stream, Transition, slid, transitions_called
from ...errors import Message

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

COMPRESSOR = "deepseek_compressor"
SAM_CHANNELS = 256
HALVINGS = 2
"""Convolutions of stride 2; each doubles the channels."""
CONVOLUTIONS = (Sliding(kernel=3, before=1), *[Sliding(kernel=3, stride=2, before=1)] * HALVINGS)
"""SAM's neck convolution, then those."""


def compressed(_config: EncoderConfig, stream: Stream) -> Stream:
    """The stream after the compressor: the grid halved twice, rounded up, with a class token in front."""
    return Stream(slid(stream.grid, CONVOLUTIONS), stream.dim, extra_tokens=1)


def sam_channels(config: EncoderConfig) -> tuple[int, int, int]:
    """Channels of SAM's neck, and of the two convolutions after it, in DeepSeek-OCR 2."""
    return SAM_CHANNELS, 2 * SAM_CHANNELS, config.out_chans


def halved_twice(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream after SAM's neck and two convolutions of stride 2."""
    return Stream(slid(stream.grid, CONVOLUTIONS), config.out_chans)


def projected(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream after the projector, without the class token."""
    return Stream(stream.grid, config.out_chans)


def of_compressor(config: EncoderConfig) -> tuple[str, ...]:
    """The compressor, whose output without the class token the projector takes."""
    return transitions_called(COMPRESSOR, config)


def compressor_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The width of the stage must be divisible by 4."""
    stage = config.stages[at]
    if stage.embed_dim % 2**HALVINGS:
        message = (
            f"embed_dim {stage.embed_dim} is not a multiple of {2**HALVINGS}: transition {COMPRESSOR} doubles its channels "
            "twice to reach it"
        )
        yield ("stages", at, "embed_dim"), Message("not-divisible", message)


def projector_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The projector needs the compressor's features."""
    if config.stages[-1].transition != COMPRESSOR:
        message = f"neck deepseek needs transition {COMPRESSOR} in the last stage"
        yield ("neck",), Message("neck-needs-transition", message)


FAMILY = Family(
    transitions={
        COMPRESSOR: Transition(
            summary="DeepEncoder's: SAM's neck, two convolutions of stride 2, CLIP's class token, positions and norm.",
            makes=SEQUENCE,
            stream=compressed,
            slides=CONVOLUTIONS,
            problems=compressor_problems,
        )
    },
    necks={
        "deepseek_sam": Part(
            summary="DeepSeek-OCR 2's, after SAM's blocks: SAM's neck, two convolutions of stride 2, to 512 and to out_chans.",
            keys=frozenset({"out_chans"}),
            stream=halved_twice,
        ),
        "deepseek": Part(
            summary="DeepEncoder's: CLIP's tokens next to the compressor's, and a linear layer to out_chans.",
            keys=frozenset({"out_chans"}),
            takes=SEQUENCE,
            stream=projected,
            taps=of_compressor,
            problems=projector_problems,
        ),
    },
)
