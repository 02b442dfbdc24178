"""The recordings that ship with samattn, and which of their cases are of a config."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..config.model import EncoderConfig
from ..recording import Fingerprint, MeasuredCase, Recording, read_recording

FOLDER = Path(__file__).resolve().parent.parent / "recordings"


@dataclass(frozen=True)
class Recorded:
    """A case, and what it was measured on."""

    fingerprint: Fingerprint
    case: MeasuredCase


@cache
def shipped() -> tuple[Recording, ...]:
    """The recordings of the package, in the order of their files."""
    return tuple(read_recording(path) for path in sorted(FOLDER.glob("*.json")))


def matching(config: EncoderConfig) -> tuple[Recorded, ...]:
    """The finished cases of the shipped recordings that are of `config`, whatever it is called."""
    return tuple(
        Recorded(recording.fingerprint, case)
        for recording in shipped()
        if (case := recording.finished(config)) is not None
    )
