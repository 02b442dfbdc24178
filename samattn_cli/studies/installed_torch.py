"""A finding where the installed torch takes other memory than the torch of the run, with both figures."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.registry import REFERENCE
from ..encoder.torch_versions import NEWEST, OLDEST, PER_CALL_SINCE, Version, version_of, words
from ..figures import PEAKS
from ..records import replace
from ..reports.analysis import Finding
from ..shell import options
from ..units import format_bytes
from .passes import Passes
from .torch_version import installed


def of_installed_torch(passes: Passes) -> Iterator[Finding]:
    """Both peaks, if they differ: those of a CUDA device, or else those of tensors."""
    run = passes.config.run
    if not (_other_kernels(passes) or _on_cuda(passes)):
        return  # before torch is looked for, which takes time
    version = version_of(installed())
    if version is None or version == run.torch_version or not OLDEST <= version <= NEWEST:
        return
    other = Passes(replace(passes.config, run=replace(run, torch=words(version))), passes.device)
    if _other_kernels(passes):
        why, figures = "other kernels of attention run", [each.figures for each in (passes, other)]
        here, there = (format_bytes(getattr(each, PEAKS[run.mode])) for each in figures)
    elif _other_workspaces(passes, version):
        why, used = "cuBLAS takes its workspaces otherwise", [each.in_memory for each in (passes, other)]
        here, there = (format_bytes((each and each.allocated_bytes) or 0) for each in used)
    else:
        return
    if here != there:
        yield Finding(
            "installed-torch",
            f"These figures are for torch {run.torch}: the {run.mode} peak is {here}. With torch {words(version)}, which is "
            f"installed, {why}, and it is {there} ({options('--set', (f'run.torch={words(version)}',))}).",
        )


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
