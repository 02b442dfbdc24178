"""A finding where the installed torch takes other memory than the torch of the run, with both figures."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.registry import REFERENCE
from ..encoder.torch_versions import (
    NEWEST,
    OLDEST,
    PER_CALL_SINCE,
    Version,
    version_of,
    words,
)
from ..figures import PEAKS
from ..records import replace
from ..reports.analysis import Finding
from ..shell import options
from ..units import format_bytes
from .passes import Passes
from .torch_version import installed


def of_installed_torch(passes: Passes) -> Iterator[Finding]:
    """Both peaks, if they differ: those of tensors, or else what a CUDA device allocates. Or why it cannot run the encoder at all."""
    run = passes.config.run
    if not (_other_kernels(passes) or _on_cuda(passes)):
        return  # before torch is looked for, which takes time
    version = version_of(installed())
    if version is None or version == run.torch_version or not OLDEST <= version <= NEWEST:
        return
    other = Passes(replace(passes.config, run=replace(run, torch=words(version))), passes.device)
    if _refused(passes):
        return
    if why := _refused(other):
        yield Finding(
            "installed-torch",
            f"These figures are for torch {run.torch}. With torch {words(version)}, which is installed, this run stops with an "
            f"error. {why}.",
        )
        return
    for why, what, *peaks in _differences(passes, other, version):
        here, there = map(format_bytes, peaks)
        if here != there:
            yield Finding(
                "installed-torch",
                f"These figures are for torch {run.torch}: {what} {here}. With torch {words(version)}, which is "
                f"installed, {why}, and it is {there} ({options('--set', (f'run.torch={words(version)}',))}).",
            )
            return


def _differences(passes: Passes, other: Passes, version: Version) -> Iterator[tuple[str, str, int, int]]:
    """In what the versions may differ, what the peak is of, and both peaks."""
    mode = passes.config.run.mode
    if _other_kernels(passes):
        what = f"the {mode} peak is"
        yield "other kernels of attention run", what, _of_tensors(passes), _of_tensors(other)
    if _other_workspaces(passes, version):
        what = f"with workspaces, {mode} allocates"
        yield "cuBLAS takes its workspaces otherwise", what, _allocated(passes), _allocated(other)


def _of_tensors(passes: Passes) -> int:
    peak: int = getattr(passes.figures, PEAKS[passes.config.run.mode])
    return peak


def _allocated(passes: Passes) -> int:
    used = passes.in_memory
    return (used and used.allocated_bytes) or 0


def _refused(passes: Passes) -> str:
    """Why a CUDA device cannot launch the run; "" if it can."""
    used = passes.in_memory
    return used.refused if used else ""


def _other_kernels(passes: Passes) -> bool:
    """Whether another version may run others: on an A100, only for calls without a batch, which only libraries make."""
    return passes.config.run.attention != "eager" and passes.config.implementation != REFERENCE


def _on_cuda(passes: Passes) -> bool:
    return passes.device is not None and passes.device.compute_capability is not None


def _other_workspaces(passes: Passes, version: Version) -> bool:
    """Whether another version keeps workspaces of cuBLAS where this one does not, on a CUDA device."""
    return _on_cuda(passes) and (version >= PER_CALL_SINCE) != (
        passes.config.run.torch_version >= PER_CALL_SINCE
    )
