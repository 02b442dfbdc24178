"""A finding where the installed torch runs other kernels of attention than the torch of the run, with both figures."""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.registry import REFERENCE
from ..encoder.torch_versions import NEWEST, OLDEST, version_of, words
from ..figures import PEAKS
from ..records import replace
from ..reports.analysis import Finding
from ..shell import options
from ..units import format_bytes
from .passes import Passes
from .torch_version import installed


def of_installed_torch(passes: Passes) -> Iterator[Finding]:
    """The peaks under both versions, if they differ.

    On an A100 the known versions choose differently only for calls without a batch, which only libraries make.
    """
    config, run = passes.config, passes.config.run
    if run.attention == "eager" or config.implementation == REFERENCE:
        return
    version = version_of(installed())
    if version is None or version == run.torch_version or not OLDEST <= version <= NEWEST:
        return
    other = Passes(replace(config, run=replace(run, torch=words(version))))
    here, there = (format_bytes(getattr(each.figures, PEAKS[run.mode])) for each in (passes, other))
    if here != there:
        yield Finding(
            "installed-torch",
            f"These figures are for torch {run.torch}: the {run.mode} peak is {here}. With torch {words(version)}, which is "
            f"installed, other kernels of attention run, and it is {there} "
            f"({options('--set', (f'run.torch={words(version)}',))}).",
        )
