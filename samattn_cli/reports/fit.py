"""The answer of `samattn fit`: how far one thing can grow, all else as it is, until memory is full."""

from __future__ import annotations

from typing import Literal

from ..encoder.keys import Size
from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .candidate import Candidate
from .checkpoints import CheckpointAnswer
from .shown import Shown

Vary = Literal["resolution", "batch_size", "global_layers"]
"""What grows: pixels of the image, images a pass, layers that attend over the whole grid."""

Status = Literal["edge", "all fit", "none fits", "no candidates"]
"""edge: one fits, and the next larger does not. no candidates: there is nothing to choose from; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A smaller candidate that does not fit although a larger one does.

    Attributes:
        label: its place among the candidates.
        peak_bytes: its live bytes.
        reserved_bytes: what the allocator would reserve, if its live bytes fit and only the allocator finds no room.
    """

    label: str
    peak_bytes: int
    reserved_bytes: int | None = None

    @property
    def taken_bytes(self) -> int:
        """What does not fit."""
        return self.peak_bytes if self.reserved_bytes is None else self.reserved_bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How far one thing can grow in a mode, under an attention kernel.

    Attributes:
        vary: what grows.
        mode: of the run.
        attention: the kernel.
        status: whether there is an edge.
        message: why there is no candidate, or none that is larger than all that fit.
        fits: the largest that fits.
        label: it in a word: "1024x1024", "8", "4 of 32".
        next: the next larger; where none fits, the smallest.
        next_label: it in a word.
        gaps: smaller ones that do not fit.
        candidates: how many were looked at: all there are, up to one that surely does not fit.
        tried_from: the smallest that was replayed through the allocator, if gaps among smaller ones were not looked for; else "".
        every_one: whether they all were worked out; else the edge was found by halving, and gaps were not looked for.
        curve: the size and the live bytes of each candidate, up to somewhat more than the memory; () if that was not asked for. The
            size is the longer side of the image in pixels, the number of images, or that of global layers.
    """

    vary: Vary
    mode: str
    attention: str
    status: Status
    message: str = ""
    fits: Candidate | None = None
    label: str = ""
    next: Candidate | None = None
    next_label: str = ""
    gaps: tuple[Gap, ...] = ()
    candidates: int = 0
    every_one: bool = True
    tried_from: str = ""
    curve: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class AsItIs:
    """The encoder as its config has it, in a mode and under an attention kernel."""

    mode: str
    attention: str
    encoder: Candidate


@dataclass(frozen=True, kw_only=True)
class Unmodelled:
    """An attention kernel that the encoder cannot be asked about, and why."""

    attention: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Fit(Shown):
    """The answer of `samattn fit`.

    Attributes:
        config: the encoder; each answer says its own mode and kernel.
        memory_bytes: what a process has for tensors.
        device: whose memory that is; "" where bytes were asked for.
        aspect: (width, height) of the resolutions, in lowest terms.
        is_own_aspect: whether that is, nearly at least, the aspect of the config's own image.
        no_padding: whether only resolutions that patches and windows divide were looked at.
        checkpointing: which blocks to checkpoint, for each kernel, if that was asked.
    """

    config: EncoderConfig
    memory_bytes: int
    device: str
    aspect: Size
    no_padding: bool
    as_it_is: tuple[AsItIs, ...]
    answers: tuple[Answer, ...]
    unmodelled: tuple[Unmodelled, ...]
    is_own_aspect: bool = False
    checkpointing: tuple[CheckpointAnswer, ...] = ()
    kind: Literal["fit"] = "fit"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__
