"""The configs that a thresholds file is about, or that are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..encoder.presets import presets
from ..errors import SamattnError
from ..files.globs import is_glob
from ..spelling import known_as
from .load_thresholds import ThresholdsFile
from .references import Case


def configs_of(file: ThresholdsFile) -> dict[int, list[Case]]:
    """The configs that each of the file's `configs` leads to, by its index."""
    patterns = file.thresholds.configs
    return {index: list(_led_to(file, pattern)) for index, pattern in enumerate(patterns)}


def given_configs(file: ThresholdsFile, given: Sequence[str]) -> list[Case]:
    """Configs that are asked for, by paths from the working directory or names of presets."""
    return [_case(file, reference, reference) for reference in given]


def paths_of(file: ThresholdsFile, given: Sequence[str]) -> frozenset[str]:
    """The paths of configs that are asked for."""
    return frozenset(case.path for case in given_configs(file, given))


def each_once(cases: Iterable[Case]) -> list[Case]:
    """Each config once, whatever led to it."""
    return list({case.path: case for case in cases}.values())


def _led_to(file: ThresholdsFile, pattern: str) -> Iterator[Case]:
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
