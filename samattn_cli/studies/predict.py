"""What samattn predicts of a case before it is measured: its peak memory, whole and by part and block."""

from __future__ import annotations

from collections.abc import Mapping

from ..config.model import EncoderConfig
from ..cost.encoder import forward
from ..cost.memory import walk
from ..cost.training import training_step
from ..recording import Section


def predicted_bytes(config: EncoderConfig) -> int:
    """The peak of `config` as it is run."""
    return max(predicted_sections(config).values())


def predicted_sections(config: EncoderConfig) -> Mapping[Section, int]:
    """The peak in each section of the pass."""
    if config.run.mode == "training":
        return training_step(config).peaks
    passed = forward(config)
    return {
        (segment.name, "forward"): memory.peak_bytes
        for segment, memory in zip(passed.segments, walk(passed), strict=True)
    }
