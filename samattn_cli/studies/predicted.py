"""What is predicted of a measured case: the figures of the allocator of the device that measured it, to compare with its own."""

from __future__ import annotations

from ..records import replace
from ..reports.recording import Fingerprint, MeasuredCase
from .on_device import cuda_of_recording, replayed
from .passes import Passes
from .torch_version import with_torch


def with_prediction(case: MeasuredCase, made_by: Fingerprint) -> MeasuredCase:
    """A case with the bytes that the allocator of its machine is predicted to allocate and reserve, and how far off they are.

    On a CPU the peak of tensors is compared, as no allocator is replayed. Nothing is predicted of a compiled case.
    """
    if made_by.compiled or case.predicted_bytes is None:
        return case
    cuda = cuda_of_recording(made_by)
    used = None if cuda is None else replayed(Passes(with_torch(case.config, made_by.torch)), cuda)
    allocated, reserved = (None, None) if used is None else (int(used.allocated), int(used.reserved))
    measured = case.measured
    workspace = 0 if measured is None or used is not None else measured.workspace_bytes
    peak = None if measured is None else measured.peak_allocated_bytes - workspace
    return replace(
        case,
        predicted_allocated_bytes=allocated,
        predicted_reserved_bytes=reserved,
        error=_error(case.predicted_bytes if allocated is None else allocated, peak),
        reserved_error=_error(reserved, None if measured is None else measured.peak_reserved_bytes),
    )


def _error(predicted: int | None, measured: int | None) -> float | None:
    """By how much a figure is above the measured one, as a share of that; None if one is not known."""
    return None if predicted is None or not measured else predicted / measured - 1
