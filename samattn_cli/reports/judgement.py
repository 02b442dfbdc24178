"""Predicted memory against measured, frozen: the answer of `samattn verify --measured`.

An error is (predicted - measured) / measured. On CUDA the prediction is of the caching allocator, with cuBLAS workspaces; on a
CPU it is of the bytes of tensors.
"""

from __future__ import annotations

from typing import Literal

from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..version import __version__
from .shown import Shown

SCHEMA_VERSION = 1
MOST_ERROR = 0.01
"""On CUDA, whose kernels and allocator the prediction is of; the CPU's differ, and are reported only."""


@dataclass(frozen=True)
class JudgedPeak:
    """A predicted peak and the measured one.

    `by_cudnn`: whether cuDNN runs a convolution in it, for which it may take a workspace that is not predicted.
    """

    name: str
    phase: str
    predicted_bytes: int
    measured_bytes: int
    error: float
    by_cudnn: bool = False


@dataclass(frozen=True)
class JudgedCase:
    """One case of a recording; `whole` is None where it was not measured or not predicted: `message` says why."""

    config: EncoderConfig
    device: str
    kind: Literal["cuda", "cpu", "dry"]
    message: str
    workspace_bytes: int
    whole: JudgedPeak | None
    layers: tuple[JudgedPeak, ...]

    @property
    def worst_layer(self) -> JudgedPeak | None:
        """Of those that are judged, the one whose error is largest."""
        judged = (peak for peak in self.layers if not peak.by_cudnn)
        return max(judged, key=lambda peak: abs(peak.error), default=None)


@dataclass(frozen=True)
class Errors:
    """The size of some errors."""

    worst: float
    median: float


@dataclass(frozen=True, kw_only=True)
class Judgement(Shown):
    """Every case, and the errors of all that could be judged."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["judgement"] = "judgement"
    samattn_version: str = __version__
    cases: tuple[JudgedCase, ...]
    whole_errors: Errors
    layer_errors: Errors

    @property
    def is_close(self) -> bool:
        """Whether every error on CUDA, measured or in a dry run, is at most `MOST_ERROR`; but for layers that cuDNN runs."""
        peaks = (
            peak
            for case in self.cases
            if case.kind != "cpu" and case.whole
            for peak in (case.whole, *case.layers)
            if not peak.by_cudnn
        )
        return all(abs(peak.error) <= MOST_ERROR for peak in peaks)
