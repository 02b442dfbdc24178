"""What was measured, frozen, with all that made it: JSON that is resumed, shipped and judged against.

A recording is of one device and one torch; each of its cases is one config, identified by its hash. Bytes are those of
torch's allocator; times are medians with the 10th and the 90th percentile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig, Phase
from ..errors import RecordingError
from ..files.reading import read_file
from ..files.sources import MOST_BYTES
from ..records import dataclass, replace
from .finite import finite_json

SCHEMA_VERSION = 1
CaseStatus = Literal["measured", "out of memory", "failed", "not run"]
"""Running out of memory is a result. failed: it broke in another way. not run: it would have filled the memory."""

CompileMode = Literal["", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""A mode of torch.compile, as torch names it; "" is eager."""

CUDA_GRAPHS = frozenset({"reduce-overhead", "max-autotune"})
"""The modes whose graphs run as CUDA graphs."""

OF_ONE_MACHINE = frozenset({"host", "driver", "platform"})
"""The fields of a fingerprint that are particular to a machine: on machines with the same card they may differ."""


@dataclass(frozen=True)
class Fingerprint:
    """The device and the software that measured.

    `kind` is "dry" for a dry run: torch's own CUDA code, allocations real, kernels not run. `allocation_bytes` is what the allocator takes for one byte; `settings` are those that the environment or samattn
    chose, in words. `compiled` is the mode of torch.compile, or "" for eager runs. `host` is the machine of a cluster, or
    the names of those that a recording began with; "" if this machine measured for itself.
    """

    device: str
    kind: Literal["cuda", "cpu", "dry"]
    total_bytes: int
    compute_capability: str
    driver: str
    cuda: str
    cudnn: str
    torch: str
    allocator: str
    allocation_bytes: int
    samattn: str
    python: str
    platform: str
    settings: tuple[str, ...]
    multiprocessors: int | None = None
    threads_per_multiprocessor: int | None = None
    compiled: CompileMode = ""
    host: str = ""

    def __str__(self) -> str:
        compiled = f", compiled ({self.compiled})" if self.compiled else ""
        return f"{self.device}{' (dry run)' * (self.kind == 'dry')}, torch {self.torch}{compiled}"

    def differences(self, other: Fingerprint) -> list[str]:
        """What differs, in words. What is particular to a machine may differ if a cluster measured one of the two."""
        may_differ = OF_ONE_MACHINE if self.host or other.host else {"host"}
        if "driver" in may_differ and self.kind == "cpu":
            may_differ = may_differ | {"total_bytes"}
        names = [
            field.name
            for field in fields(self)
            if field.name not in may_differ and getattr(self, field.name) != getattr(other, field.name)
        ]
        return [f"{name} {getattr(self, name)!r} there, {getattr(other, name)!r} here" for name in names]


def of_several(prints: Iterable[Fingerprint]) -> Fingerprint:
    """One fingerprint of several machines that do not differ: it has the words of each, and the least memory."""
    prints = tuple(prints)
    words: dict[str, Any] = {
        name: ", ".join(sorted({getattr(one, name) for one in prints if getattr(one, name)}))
        for name in OF_ONE_MACHINE
    }
    return replace(prints[0], total_bytes=min(one.total_bytes for one in prints), **words)


@dataclass(frozen=True)
class Latency:
    """Of some repeats after a warm-up: their median, 10th and 90th percentile."""

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int


@dataclass(frozen=True)
class MeasuredLayer:
    """A part or block in one phase of the pass: the most bytes live at once in it (all of them), and its time.

    A dry run has no times.
    """

    name: str
    phase: Phase
    peak_bytes: int
    latency: Latency | None


@dataclass(frozen=True)
class Measurement:
    """Of one case that ran.

    `baseline_bytes` are live before the pass: weights and input; between training steps gradients and the optimizer's
    state too. `workspace_bytes` is the cuBLAS workspace, which the allocator hands out once and which every peak here
    includes; it is not part of the baseline. `peak_reserved_bytes` is None where the allocator keeps no cache (CPU);
    `peak_requested_bytes` is the peak of what tensors asked for, before CUDA's allocator rounds it up or hands out a
    cached block up to 1 MiB larger than was asked for. `latency` is None for a dry run. A compiled pass has no layers, and
    its peaks are those of a pass after compilation.
    """

    baseline_bytes: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int | None
    peak_requested_bytes: int
    workspace_bytes: int
    attention_kernels: tuple[str, ...]
    latency: Latency | None
    layers: tuple[MeasuredLayer, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a case: a measurement, or a message why there is none."""

    status: CaseStatus
    message: str = ""
    measured: Measurement | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredCase(Outcome):
    """One config and its outcome, with what samattn predicted then; None where it did not.

    Attributes:
        config: the config.
        config_hash: its hash.
        predicted_bytes: the peak of tensors.
        measured_at: the time.
        fingerprint: that of the machine that measured it; None if it is the recording's.
        predicted_allocated_bytes: of a CUDA device or a dry run, what the caching allocator hands out, as `samattn analyze
            --device` derives it.
        predicted_reserved_bytes: what it reserves.
        error: by how much the prediction is above the measured peak, as a share of that: of allocated bytes, or on a CPU of
            tensors.
        reserved_error: the same of reserved bytes.
    """

    config: EncoderConfig
    config_hash: str
    predicted_bytes: int | None
    measured_at: str
    fingerprint: Fingerprint | None = None
    predicted_allocated_bytes: int | None = None
    predicted_reserved_bytes: int | None = None
    error: float | None = None
    reserved_error: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether running it again would give nothing new."""
        return self.status in {"measured", "out of memory"}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The answer of `samattn measure`."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["recording"] = "recording"
    fingerprint: Fingerprint
    cases: tuple[MeasuredCase, ...] = ()

    def finished(self, config: EncoderConfig) -> MeasuredCase | None:
        """The finished case of `config`, if there is one."""
        wanted = config_hash(config)
        return next((case for case in self.cases if case.config_hash == wanted and case.is_finished), None)

    def with_case(self, case: MeasuredCase) -> Recording:
        """The recording with `case` at its end, in place of an earlier one of the same config."""
        others = (other for other in self.cases if other.config_hash != case.config_hash)
        return replace(self, cases=(*others, case))


def read_recording(path: Path) -> Recording:
    """The recording in a file.

    Raises:
        RecordingError: if the file cannot be read, or is damaged.
    """
    try:
        text = read_file(path, MOST_BYTES).decode()
    except OSError as error:
        raise RecordingError("cannot-read", f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RecordingError("not-utf-8", f"{path}: is not a recording: it is not UTF-8 text") from None
    return from_json(text, str(path))


def from_json(text: str, label: str) -> Recording:
    """The recording that `to_json` wrote; `label` is what messages call it.

    Raises:
        RecordingError: for text that is not a recording, or of another schema, or whose cases contradict their configs.
    """
    _check_head(text, label)
    from pydantic import TypeAdapter, ValidationError

    try:
        recording = TypeAdapter(Recording).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordingError("damaged-recording", f"{label}: is damaged at {where}: {first['msg']}") from None
    _check_cases(recording.cases, label)
    _check_machines(recording, label)
    return recording


def _check_head(text: str, label: str) -> None:
    try:
        data = finite_json(text)
    except (ValueError, RecursionError) as error:
        raise RecordingError("damaged-recording", f"{label}: is damaged: not JSON ({error})") from None
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind != "recording":
        raise RecordingError(
            "not-a-recording", f"{label}: is not a recording of `samattn measure`: its kind is {kind!r}"
        )
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise RecordingError(
            "other-schema-version",
            f"{label}: has schema_version {version!r}; this samattn reads {SCHEMA_VERSION}",
        )


def _check_cases(cases: Iterable[MeasuredCase], label: str) -> None:
    for number, case in enumerate(cases):
        what = f"{label}: is damaged at cases.{number} ({case.config.name})"
        if config_hash(case.config) != case.config_hash:
            raise RecordingError("damaged-recording", f"{what}: its config_hash is of another config")
        if (case.status == "measured") != (case.measured is not None):
            raise RecordingError(
                "damaged-recording", f"{what}: its status is {case.status!r}, which contradicts its figures"
            )
        if case.measured is not None and not _are_positive(case.measured):
            raise RecordingError("damaged-recording", f"{what}: a peak or a time is not above 0")


def _check_machines(recording: Recording, label: str) -> None:
    """Check that all cases were measured on the same card, with the same torch: cases of two do not mix."""
    for number, case in enumerate(recording.cases):
        if case.fingerprint and (differences := recording.fingerprint.differences(case.fingerprint)):
            raise RecordingError(
                "recordings-differ",
                f"{label}: mixes machines that differ: cases.{number} ({case.config.name}) was measured on another one "
                f"than the recording says ({'; '.join(differences)})",
            )


def _are_positive(measured: Measurement) -> bool:
    latencies = filter(None, (measured.latency, *(layer.latency for layer in measured.layers)))
    times = [time for latency in latencies for time in (latency.low_ms, latency.median_ms, latency.high_ms)]
    peaks = [measured.peak_allocated_bytes, *(layer.peak_bytes for layer in measured.layers)]
    return min(times, default=1) > 0 and min(peaks) > measured.workspace_bytes
