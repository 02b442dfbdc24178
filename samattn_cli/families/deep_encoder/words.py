"""DeepSeek-OCR's DeepEncoder (arXiv:2510.18234): SAM's windowed blocks, a compressor, CLIP's global blocks, a projector.

Source: deepseek-ai/DeepSeek-OCR, deepencoder/sam_vary_sdpa.py, clip_sdpa.py and build_linear.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.slots import Family, Part, Problem, Sliding, Stream, Transition, slid, transitions_called

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

COMPRESSOR = "deepseek_compressor"
HALVINGS = 2
"""Convolutions of stride 2; each doubles the channels."""
CONVOLUTIONS = (Sliding(kernel=3, before=1), *[Sliding(kernel=3, stride=2, before=1)] * HALVINGS)
"""That of SAM's neck, then those."""


def compressed(_config: EncoderConfig, stream: Stream) -> Stream:
    """Half of the grid, rounded up, and half of that; a class token in front."""
    return Stream(slid(stream.grid, CONVOLUTIONS), stream.dim, extra_tokens=1)


def projected(config: EncoderConfig, stream: Stream) -> Stream:
    """Without the class token."""
    return Stream(stream.grid, config.out_chans)


def of_compressor(config: EncoderConfig) -> tuple[str, ...]:
    """What the compressor made, before its class token."""
    return transitions_called(COMPRESSOR, config)


def compressor_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A width that it cannot halve."""
    stage = config.stages[at]
    if stage.embed_dim % 2**HALVINGS:
        said = f"transition {COMPRESSOR} doubles its channels twice up to embed_dim"
        yield ("stages", at, "embed_dim"), f"{said}: use a multiple of {2**HALVINGS}, not {stage.embed_dim}"


def projector_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """A projector without the compressor's features."""
    if config.stages[-1].transition != COMPRESSOR:
        yield ("neck",), f"neck deepseek follows a stage with transition {COMPRESSOR}"


FAMILY = Family(
    transitions={
        COMPRESSOR: Transition(
            summary="DeepEncoder's: SAM's neck, two convolutions of stride 2, CLIP's class token, positions and norm.",
            makes="sequence",
            stream=compressed,
            slides=CONVOLUTIONS,
            problems=compressor_problems,
        )
    },
    necks={
        "deepseek": Part(
            summary="DeepEncoder's: CLIP's tokens next to the compressor's, and a linear layer to out_chans.",
            keys=frozenset({"out_chans"}),
            takes="sequence",
            stream=projected,
            taps=of_compressor,
            problems=projector_problems,
        )
    },
)
