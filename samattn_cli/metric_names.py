"""The names of metrics in thresholds: those of `figures.py`, and paths into `analyze --format json`.

The unit of a path follows from the end of its key: ``_bytes``, ``_flops``, ``_macs``, ``_params``, ``_ms``, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .errors import Message, did_you_mean
from .figures import FIGURES, OF_ENCODER, Figure, Scope, of

PEAK = "{peak}"
"""In a path: the key of the peak of the run's mode."""

PEAK_OF_MODE = "peak_memory"
"""The name of that peak. "peak_bytes" is the key in JSON and always means the peak of an inference forward."""


def _names(figure: Figure) -> Iterator[tuple[str, str]]:
    """Each name of a figure, and the key that it leads to."""
    for name in (figure.name, *figure.aliases):
        yield name, PEAK if name == PEAK_OF_MODE else figure.name


def names_against_global(figure: Figure) -> Iterator[tuple[str, str]]:
    """Each name of the comparison by a figure with the same encoder with every layer global, and its key."""
    if figure.against:
        yield f"{figure.compared}_vs_global", figure.compared
        for name in figure.aliases:
            key = f"{PEAK}_{figure.against}" if name == PEAK_OF_MODE else figure.compared
            if name != figure.stem:
                yield f"{name}_{figure.against}_vs_global", key


def _measured() -> Iterator[tuple[str, str]]:
    """Each name of a figure of a recording, and its path."""
    for key in ("peak_bytes", "latency_ms"):
        for name in (key, *FIGURES[key].aliases):
            yield f"measured.{name}", f"measured.{key}"


ENCODER: dict[str, str] = {
    **{name: f"totals.{key}" for figure in of("encoder") for name, key in _names(figure)},
    "attention_memory_saving_per_head": "layers.window.vs_global.attention_bytes_saving",
    **{
        name: f"comparison.vs_all_global.{key}"
        for figure in of("encoder")
        for name, key in names_against_global(figure)
    },
    **dict(_measured()),
}
"""The path of each metric of an encoder."""

PART = {name: key for figure in of("part") for name, key in _names(figure) if name != key}
"""The same for a part next to the layers, after its name."""

LAYER = {name: key for figure in of("layer") for name, key in _names(figure) if name != key} | {
    "attention_memory_per_head": "attention_bytes_per_head",
    "flops_ratio_vs_global": "vs_global.layer_flops_ratio",
    "attention_flops_ratio_vs_global": "vs_global.attention_flops_ratio",
    "scores_flops_ratio_vs_global": "vs_global.scores_flops_ratio",
    "attention_memory_saving_vs_global": "vs_global.attention_bytes_saving",
    "attention_bytes_saving_vs_global": "vs_global.attention_bytes_saving",
    "rel_pos_params_saving_vs_joint": "rel_pos_params_saving",
}
"""The same for a layer, or for a kind of layer."""

OF_PLACES = {"layers": LAYER, "parts": PART}
MEASURED = "measured"
ROOTS = (
    *("totals", "layers", "parts", "shares", "comparison", "training", "changes", "device", MEASURED),
    *("published", "config"),
)
"""The first words of the paths into an analysis."""

WINDOW, GLOBAL, CHANNEL, CONVOLUTION = KINDS = ("window", "global", "channel", "convolution")
COUNT = "count"
"""The number of layers of a kind."""

UNITS = {
    "B": re.compile(r"(.*_)?bytes(_per_head)?"),
    "FLOP": re.compile(r"(.*_)?flops"),
    "MAC": re.compile(r"(.*_)?macs"),
    "params": re.compile(r"(.*_)?params"),
    "ms": re.compile(r".*_ms"),
}


def _without_unit(figure: Figure) -> str:
    """The name of a figure in thresholds that samattn writes: an alias in place of a name that ends in its unit."""
    return figure.aliases[0] if figure.name.endswith(("_bytes", "_ms")) else figure.name


COSTS = tuple(_without_unit(figure) for figure in of("encoder") if figure.is_cost)
"""The metrics by which an encoder costs less than another."""


def path_of(metric: str, *, training: bool = False) -> str:
    """The path of a metric in an analysis whose run is an inference forward, or a training step."""
    root, _, rest = metric.partition(".")
    names = OF_PLACES.get(root, {})
    place, _, name = rest.rpartition(".")
    path = f"{root}.{place}.{names[name]}" if place and name in names else ENCODER.get(metric, metric)
    return path.replace(PEAK, "training_bytes" if training else "peak_bytes")


def unit_of(metric: str) -> str:
    """The unit of a metric: B, FLOP, MAC, params, ms, or "" for shares, ratios and counts."""
    last = path_of(metric).rpartition(".")[2]
    return next((unit for unit, keys in UNITS.items() if keys.fullmatch(last)), "")


def figure_in(path: str, scope: Scope = "encoder") -> Figure | None:
    """The figure that a path into an analysis belongs to: flops for "layers.7.vs_global.layer_flops_ratio"."""
    last = path.rpartition(".")[2]
    keys = ((key, figure) for figure in of(scope) for key in (figure.stem, *figure.sums))  # latency_ratio
    return max(((len(key), figure) for key, figure in keys if key in last), default=(0, None))[1]


def needs_device(metric: str) -> bool:
    """Whether the metric is known only for a device."""
    return bool(needed_device(metric))


def needed_device(metric: str) -> str:
    """What the metric is known only for, in words: "a device", "a CUDA device"; "" if it is known without."""
    figure = figure_in(path_of(metric))
    return "" if figure is None else {"": "", "device": "a device", "cuda": "a CUDA device"}[figure.needs]


def is_gain(metric: str) -> bool:
    """Whether more is better: for a saving, or for the ratio of another cost to this one."""
    return path_of(metric).endswith(("_saving", "_ratio"))


def is_share(metric: str) -> bool:
    """Whether it is a share, which is at most 1, such as a saving."""
    return path_of(metric).endswith("_saving")


def unknown_metric(metric: str) -> Message | None:
    """What is wrong with the name of a metric, as far as one can tell without an encoder; None if nothing is."""
    root, dot, rest = metric.partition(".")
    if metric in ENCODER:
        return None
    if root == MEASURED:
        return Message(
            "unknown-metric",
            f"unknown metric {metric!r}; choose from measured.peak_bytes and measured.latency_ms",
        )
    if dot and rest and root in ROOTS:
        return None
    hint = did_you_mean(root, ROOTS) if dot else did_you_mean(metric, ENCODER)
    return Message("unknown-metric", f"unknown metric {metric!r}{hint or known_metrics()}")


def known_metrics() -> str:
    """The metrics to choose from, to end a message with."""
    names = ", ".join(OF_ENCODER)
    return f"; choose from {names} (see `samattn metrics`), or the path of a number in `samattn analyze --format json`"
