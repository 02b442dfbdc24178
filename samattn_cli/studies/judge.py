"""Predicted memory compared with measured memory, by case and by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig, Section
from ..errors import UsageError
from ..reports.judgement import Errors, JudgedCase, JudgedPeak, Judgement
from ..reports.recording import Fingerprint, MeasuredCase, Recording
from .on_device import cuda_of_recording, replayed
from .passes import Passes
from .torch_version import with_torch

WHOLE = ("encoder", "pass")
COMPILED = "torch.compile ran it, but samattn derives the memory of eager PyTorch"


def judge(recordings: Mapping[Path, Recording], configs: Sequence[EncoderConfig] = ()) -> Judgement:
    """Predict the memory of every case of some recordings, and compare it with the measured memory.

    Args:
        recordings: by the files that they were read from.
        configs: if any, only their cases are compared, and each config must have one.

    Raises:
        UsageError: if a config has no case, or no case can be compared.
    """
    files = ", ".join(map(str, recordings))
    chosen = [
        (recording.fingerprint, case)
        for recording in recordings.values()
        for case in recording.cases
        if not configs or case.config_hash in set(map(config_hash, configs))
    ]
    recorded = {case.config_hash for _, case in chosen}
    if missing := [config.name for config in configs if config_hash(config) not in recorded]:
        raise UsageError(
            "not-recorded", f"{files}: no case of {', '.join(missing)} has the same run settings"
        )
    cases = tuple(_judged(fingerprint, case) for fingerprint, case in chosen)
    if not any(case.whole for case in cases):
        reasons = dict.fromkeys(case.message for case in cases) or ["it has no cases"]
        raise UsageError("nothing-measured", f"{files}: no case can be compared: {'; '.join(reasons)}")
    return Judgement(
        cases=cases,
        whole_errors=_errors(case.whole for case in cases if case.whole),
        layer_errors=_errors(peak for case in cases for peak in case.layers if not peak.by_cudnn),
    )


def _judged(fingerprint: Fingerprint, case: MeasuredCase) -> JudgedCase:
    if fingerprint.compiled:
        return JudgedCase(case.config, fingerprint.device, fingerprint.kind, COMPILED, 0, None, ())
    passes = Passes(with_torch(case.config, fingerprint.torch), on_cpu=fingerprint.kind == "cpu")
    cuda = cuda_of_recording(fingerprint)
    predicted = replayed(passes, cuda).sections if cuda else passes.section_peaks
    whole, layers, message = None, [], case.message or case.status
    # an allocator that is replayed has the workspace of cuBLAS, too
    workspace = case.measured.workspace_bytes if case.measured and not cuda else 0
    if case.measured:
        measured = case.measured
        whole = _peak(WHOLE, max(predicted.values()), measured.peak_allocated_bytes - workspace)
        layers = [
            _peak(
                section,
                predicted[section],
                layer.peak_bytes - workspace,
                by_cudnn=fingerprint.kind == "cuda" and _has_convolution(passes, section),
            )
            for layer in measured.layers
            if (section := (layer.name, layer.phase)) in predicted
        ]
    return JudgedCase(
        config=case.config,
        device=fingerprint.device,
        kind=fingerprint.kind,
        message="" if whole else message,
        workspace_bytes=workspace,
        whole=whole,
        layers=tuple(layers),
    )


def _has_convolution(passes: Passes, section: Section) -> bool:
    return any(op.kind == "conv2d" for op in passes.sections.get(section, ()))


def _peak(section: tuple[str, str], predicted: int, measured: int, *, by_cudnn: bool = False) -> JudgedPeak:
    return JudgedPeak(*section, predicted, measured, (predicted - measured) / measured, by_cudnn)


def _errors(peaks: Iterable[JudgedPeak]) -> Errors:
    sizes = [abs(peak.error) for peak in peaks]
    return Errors(max(sizes, default=0.0), median(sizes or [0.0]))
