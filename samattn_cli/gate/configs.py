"""The configs that a thresholds file matches, and those that the user names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..encoder.presets import presets
from ..errors import SamattnError, UsageError, did_you_mean
from ..files.globs import is_glob
from ..spelling import known_as
from .load_thresholds import ThresholdsFile
from .references import Case
from .thresholds import TRACED, ConfigEntry


def configs_of(file: ThresholdsFile) -> dict[int, list[Case]]:
    """The configs that each entry of the file's `configs` matches, by the index of the entry."""
    entries = file.thresholds.configs
    return {index: list(_matching(file, entry)) for index, entry in enumerate(entries)}


def named_configs(file: ThresholdsFile, names: Sequence[str]) -> list[Case]:
    """The configs that the user names, as paths from the working directory, names of presets or of modules that are traced.

    Raises:
        UsageError: if the file has no such module.
    """
    return [_target(file, name) if name.startswith(TRACED) else _case(file, name, name) for name in names]


def _target(file: ThresholdsFile, path: str) -> Case:
    known = file.thresholds.targets
    if path not in known:
        text = f"{path}: {file.label} names no such module to trace{did_you_mean(path, known)}"
        raise UsageError("unknown-target", text)
    return Case(path, path)


def paths_of(file: ThresholdsFile, names: Sequence[str]) -> frozenset[str]:
    """The paths of the configs that the user names."""
    return frozenset(case.path for case in named_configs(file, names))


def each_once(cases: Iterable[Case]) -> list[Case]:
    """Each config once, even if several entries match it."""
    return list({case.path: case for case in cases}.values())


def _matching(file: ThresholdsFile, entry: ConfigEntry) -> Iterator[Case]:
    pattern = entry.path
    if entry.trace is not None:
        yield Case(entry.trace.path, entry.trace.path)
        return
    if not is_glob(pattern):
        yield _case(file, pattern, str(file.folder / pattern))
        return
    own = os.path.realpath(file.folder / Path(file.label).name)
    for path in _glob(file, pattern):
        if os.path.realpath(path) != own:  # Path.resolve raises where links make a loop
            yield _case(file, str(path), str(path))


def _glob(file: ThresholdsFile, pattern: str) -> list[Path]:
    try:
        return file.files.glob(file.folder, pattern)
    except (ValueError, NotImplementedError):  # such as "**.yaml" before Python 3.13: it matches nothing
        return []
    except OSError as error:
        if isinstance(error, SamattnError):
            raise
        return []


def _case(file: ThresholdsFile, name: str, path: str) -> Case:
    preset = known_as(name, presets())
    if preset and not Path(path).is_file():
        return Case(preset, preset)
    reference = os.path.normpath(path)
    return Case(Path(os.path.relpath(reference, file.folder)).as_posix(), reference)
