"""What a sweep is of, in words."""

from __future__ import annotations

from ...encoder.model import EncoderConfig
from ...reports.sweep import Axis, Sweep
from ...units import format_size, format_things
from .analysis import how_it_runs
from .sweep_columns import size_label

PLURALS = {"resolution": "resolutions", "window": "windows", "batch_size": "batch sizes", "config": "configs"}
MOST_NAMES = 6


def title_of(report: Sweep) -> str:
    """The configs, and how many points."""
    names = list(dict.fromkeys(line.config for line in report.lines))
    listed = next((axis.values for axis in report.axes if axis.name == "config"), tuple(names))
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return f"{', '.join(listed[:MOST_NAMES])}{more}: {format_things(report.points, 'point')}"


def subtitle_of(report: Sweep) -> str:
    """The axes but for the configs, which the title names; the image and how the encoders are run where that does not vary."""
    varied = {axis.name for axis in report.axes}
    run = report.configs[0].run
    fixed = [
        word
        for word in how_it_runs(run)
        if not (word.startswith("batch ") and "batch_size" in varied)
        and not ("dtype" in varied and word == run.dtype)
        and not ("attention" in varied and word.endswith(" attention"))
        and not ("mode" in varied and word.startswith("training"))
    ]
    sizes = {config.image_size for config in report.configs}
    if "resolution" not in varied and len(sizes) == 1:
        fixed.insert(0, f"image {format_size(*sizes)}")
    if report.device:
        fixed.append(f"on {report.device.name}")
    axes = [_axis(axis) for axis in report.axes if axis.name != "config"]
    return "; ".join([*axes, *filter(None, [", ".join(fixed)])])


def set_alike(report: Sweep) -> tuple[str, ...]:
    """Which configs have windows of several sizes, all of which the axis of windows sets to one."""
    if not any(axis.name == "window" for axis in report.axes):
        return ()
    return tuple(dict.fromkeys(said for config in report.configs if (said := _set_alike(config))))


def _set_alike(config: EncoderConfig) -> str:
    said = (placement for stage in config.stages for placement in stage.placements)
    own = dict.fromkeys(placement.size for placement in said if placement.size is not None)
    if len(own) <= 1:
        return ""
    sizes = ", ".join(map(size_label, own))
    return f"{config.name} has windows of {sizes}: a window of the sweep takes the place of each of them"


def _axis(axis: Axis) -> str:
    if len(axis.values) == 1:
        return f"{axis.name} {axis.values[0]}"
    if len(axis.values) <= MOST_NAMES:
        return f"{axis.name} {', '.join(axis.values)}"
    return f"{len(axis.values):,} {PLURALS.get(axis.name, axis.name)}, {axis.values[0]} to {axis.values[-1]}"
