"""What encoders cost today as limits: counts exactly, times rounded up to three digits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...encoder.presets import presets
from ...files.globs import WILD
from ...files.load import Override, load_config
from ...metric_names import COSTS, COUNT, GLOBAL, WINDOW, needs_device, unit_of
from ...quantities import TIMES
from ...units import TIME_UNITS
from ..readings import Encoder

if TYPE_CHECKING:
    from ...device.model import Device

ESCAPED = WILD | {"~"}  # which would begin a home folder
DIGITS = 3
GLOBAL_LAYERS, WINDOWED_LAYERS = (f"layers.{kind}.{COUNT}" for kind in (GLOBAL, WINDOW))
CALLED = {metric: metric.replace("_", "-") for metric in COSTS} | {GLOBAL_LAYERS: "global-layers"}
"""The end of a rule's id, by its metric."""


@dataclass(frozen=True)
class Limit:
    """A rule: the metric of one encoder, and the largest value that passes."""

    id: str
    metric: str
    most: str


@dataclass(frozen=True)
class Limits:
    """The limits of one encoder.

    Attributes:
        path: from the folder of the thresholds file, or a preset's name.
        description: of the config.
        limits: its rules.
    """

    path: str
    description: str
    limits: tuple[Limit, ...]

    @property
    def pattern(self) -> str:
        """A glob that matches only its path."""
        return pattern_of(self.path)


def pattern_of(path: str) -> str:
    """A glob that matches only this path."""
    return "".join(f"[{char}]" if char in ESCAPED else char for char in path)


def limits_of(
    references: Sequence[str],
    folder: Path,
    overrides: Sequence[Override],
    device: Device | None,
    rules: Mapping[str, str] | None = None,
    suffix: str = "",
) -> tuple[Limits, ...]:
    """The limits of each encoder, in the order of `references`.

    Args:
        references: the encoders, as paths from the working directory or names of presets.
        folder: of the thresholds file.
        overrides: of every config.
        device: on which they run, for times.
        rules: the ids of the file's rules, each with the `match` of its rule.
        suffix: the end of all new ids.

    Raises:
        ConfigError: if one cannot be loaded.
    """
    paths = {_path(reference, folder): reference for reference in references}
    names = _names(tuple(paths), rules or {})
    return tuple(
        _limits(path, names[path], suffix, Encoder(load_config(reference, overrides), device))
        for path, reference in paths.items()
    )


def _path(reference: str, folder: Path) -> str:
    """The path of an encoder in the thresholds file."""
    if reference in presets() and not Path(reference).is_file():
        return reference
    return Path(os.path.relpath(reference, folder)).as_posix()


def _names(paths: Sequence[str], rules: Mapping[str, str]) -> dict[str, str]:
    """The start of the ids of each encoder: the file's name; if that is in use the path, or the path and a number."""
    names: dict[str, str] = {}
    for path in paths:
        bare = PurePosixPath(path).with_suffix("") if path not in presets() else PurePosixPath(path)
        tried = chain((str(bare.name), str(bare)), (f"{bare}-{number}" for number in count(2)))
        plain = (
            name.replace(".", "-") for name in tried
        )  # "config." begins the ids of samattn's own findings
        others = {rule for rule, match in rules.items() if match != pattern_of(path)}
        names[path] = next(
            name
            for name in plain
            if name not in names.values()
            and others.isdisjoint(f"{name}-{called}" for called in CALLED.values())
        )
    return names


def _limits(path: str, name: str, suffix: str, encoder: Encoder) -> Limits:
    limits = (Limit(f"{name}-{CALLED[metric]}{suffix}", metric, most) for metric, most in _amounts(encoder))
    return Limits(path, encoder.config.description, tuple(limits))


def _amounts(encoder: Encoder) -> Iterator[tuple[str, str]]:
    """Each metric and its value today."""
    for metric in COSTS:
        if encoder.device or not needs_device(metric):
            yield metric, _amount(encoder.readings(metric)[0].value, unit_of(metric))
    if encoder.readings(WINDOWED_LAYERS)[0].value:
        yield GLOBAL_LAYERS, exactly(encoder.readings(GLOBAL_LAYERS)[0].value, "")


def _amount(value: float, unit: str) -> str:
    return rounded_up(value) if unit == "ms" else exactly(value, unit)


def exactly(count: float, unit: str) -> str:
    """A count with all its digits, in groups of three."""
    return f"{count:,} {unit}".strip()


def rounded_up(milliseconds: float) -> str:
    """A time in the largest unit in which it is at least 1, rounded up to three digits."""
    scales = [(Fraction(TIMES[name]), name) for name in TIME_UNITS]
    exact = Fraction(milliseconds)
    scale, name = max((pair for pair in scales if pair[0] <= exact), default=scales[0])
    amount = exact / scale
    step = Fraction(1, 10 ** max(0, DIGITS - len(str(int(amount))))) if scale > scales[0][0] else Fraction(1)
    digits = f"{float(-(-amount // step) * step):.{DIGITS}f}".rstrip("0").rstrip(".")
    return f"{digits} {name}"
