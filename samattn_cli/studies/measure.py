"""Measure cases, each in its own process; continue a recording without repeating finished cases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig
from ..encoder.torch_versions import DEFAULT, version_of, words
from ..errors import ConfigError, DeviceError, RecordingError, UsageError
from ..files.load import Override, load_config
from ..reports.recording import CompileMode, Fingerprint, MeasuredCase, Outcome, Recording, read_recording
from ..units import format_bytes
from .child import ask_fingerprint, ask_outcome
from .grid import plain
from .machine import available_bytes
from .passes import Passes
from .predicted import with_prediction
from .torch_version import installed, with_torch

SIZE = "image_size"
A_SIZE = re.compile(r"[1-9]\d*(x[1-9]\d*)?")


def cases_of(
    references: Iterable[str],
    laid_over: Sequence[Override],
    axes: Sequence[Sequence[Override]],
    left_out: list[ConfigError] | None = None,
) -> list[EncoderConfig]:
    """Each config with each combination of the overrides of the axes; equal configs are one case.

    Args:
        references: what `load_config` takes.
        laid_over: overrides of each config.
        axes: the overrides of each axis.
        left_out: gets what is wrong with the sizes that a config does not take, if it takes others. Without it, that is
            an error.

    Raises:
        ConfigError: if a case is not valid, and its size is not the reason.
    """
    cases: dict[str, EncoderConfig] = {}
    for reference in references:
        tried = [
            (combination, _loaded(reference, [*laid_over, *combination]))
            for combination in product(*(axis for axis in axes if axis))
        ]
        at_some_size = {
            _but_size(combination) for combination, config in tried if not isinstance(config, ConfigError)
        }
        for combination, config in tried:
            if not isinstance(config, ConfigError):
                cases.setdefault(config_hash(config), config)
            elif left_out is None or _but_size(combination) not in at_some_size or not _is_sized(combination):
                raise config
            else:
                left_out.append(config)
    return list(cases.values())


def _loaded(reference: str, overrides: Sequence[Override]) -> EncoderConfig | ConfigError:
    try:
        return load_config(reference, overrides)
    except ConfigError as error:
        return error


def _but_size(combination: Sequence[Override]) -> tuple[str, ...]:
    return tuple(override.where for override in combination if override.key != SIZE)


def _is_sized(combination: Sequence[Override]) -> bool:
    """Whether it has an image size, and that is one: a word is a slip, not a size that does not fit."""
    return any(each.key == SIZE and A_SIZE.fullmatch(str(plain(each.value))) for each in combination)


def device_fingerprint(device: str, compiled: CompileMode = "") -> Fingerprint:
    """The fingerprint of a device, for runs through torch.compile if they are `compiled`.

    Raises:
        DeviceError: if torch is not installed, has no such device, or cannot run or compile on it.
    """
    if find_spec("torch") is None:
        raise DeviceError("not-installed", "measuring needs torch: pip install 'samattn[torch]'")
    return ask_fingerprint(device, compiled)


def start(fingerprint: Fingerprint, earlier: Path | None) -> Recording:
    """The recording to continue: that of the file `earlier` if it exists, else an empty one.

    Raises:
        RecordingError: if the file is not a recording, or was made on another device or with another torch.
    """
    if earlier is None or not earlier.exists():
        return Recording(fingerprint=fingerprint)
    recording = read_recording(earlier)
    if differences := recording.fingerprint.differences(fingerprint):
        raise RecordingError(
            "recordings-differ",
            f"{earlier}: cannot continue a recording with other settings ({'; '.join(differences)}); give another "
            "file, or --fresh",
        )
    return recording


def measure_case(
    config: EncoderConfig,
    device: str,
    snapshot: Path | None = None,
    repeats: int | None = None,
    compiled: CompileMode = "",
    made_by: Fingerprint | None = None,
) -> MeasuredCase:
    """Measure one case, and note its predicted peak. There is no prediction for a compiled one.

    Args:
        config: the case.
        device: as torch names it, or "dry:NAME".
        snapshot: the file of a memory snapshot.
        repeats: timed passes.
        compiled: the mode of torch.compile.
        made_by: the fingerprint of the device, if what its allocator takes is to be predicted too.

    Raises:
        UsageError: if the config asks for another torch than the one that would be measured.
    """
    _refuse_other_torch(config)
    predicted = Passes(with_torch(config, installed()), on_cpu=device == "cpu").peak_bytes
    outcome = _too_large(predicted) if device == "cpu" else None
    outcome = outcome or ask_outcome(config, device, snapshot, repeats, compiled)
    case = MeasuredCase(
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=None if compiled else predicted,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        status=outcome.status,
        message=outcome.message,
        measured=outcome.measured,
    )
    return case if made_by is None else with_prediction(case, made_by)


def _refuse_other_torch(config: EncoderConfig) -> None:
    version = version_of(installed())
    if config.run.torch_version in {DEFAULT, version} or version is None:
        return
    raise UsageError(
        "torch-differs",
        f"{config.name}: run.torch is {config.run.torch}, and torch {words(version)} is installed, which would be measured: "
        f"install torch {config.run.torch}, or leave run.torch out",
    )


def _too_large(predicted: int) -> Outcome | None:
    """The outcome of a case that would need more memory than this machine has: it is not run."""
    available = available_bytes()
    if available is None or predicted <= available:
        return None
    return Outcome(status="not run", message=f"only {format_bytes(available)} of memory is available")
