"""The names by which thresholds call figures: those with a name of their own, and paths into `analyze --format json`.

The unit of a figure is that of its key: ``_bytes``, ``_flops``, ``_macs``, ``_params``, ``_ms``, else none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import did_you_mean

ENDS = (("_bytes", "_memory"), ("latency_ms", "latency"))
"""How the names of the same figures end in `analyze --format json` and in limits."""

PEAK = "{peak}"
"""In a path: what the run's mode has its peak as."""

ENCODER = {
    "params": "totals.params",
    "macs": "totals.macs",
    "flops": "totals.flops",
    "elementwise_flops": "totals.elementwise_flops",
    "peak_memory": f"totals.{PEAK}",
    "training_memory": "totals.training_bytes",
    "weights_memory": "totals.weights_bytes",
    "attention_memory": "totals.attention_bytes",
    "latency": "totals.latency_ms",
    "attention_memory_saving_per_head": "layers.window.vs_global.attention_bytes_saving",
    "flops_ratio_vs_global": "comparison.vs_all_global.flops_ratio",
    "attention_memory_saving_vs_global": "comparison.vs_all_global.attention_bytes_saving",
    "peak_memory_saving_vs_global": f"comparison.vs_all_global.{PEAK}_saving",
    "training_memory_saving_vs_global": "comparison.vs_all_global.training_bytes_saving",
    "latency_ratio_vs_global": "comparison.vs_all_global.latency_ratio",
    "measured.peak_memory": "measured.peak_bytes",
    "measured.latency": "measured.latency_ms",
}
"""Of an encoder: the path of each."""

PART = {
    "peak_memory": PEAK,
    "training_memory": "training_bytes",
    "latency": "latency_ms",
}
"""Likewise of a part beside the layers, behind its name."""

LAYER = PART | {
    "attention_memory": "attention_bytes",
    "attention_memory_per_head": "attention_bytes_per_head",
    "flops_ratio_vs_global": "vs_global.layer_flops_ratio",
    "attention_flops_ratio_vs_global": "vs_global.attention_flops_ratio",
    "scores_flops_ratio_vs_global": "vs_global.scores_flops_ratio",
    "attention_memory_saving_vs_global": "vs_global.attention_bytes_saving",
    "rel_pos_params_saving_vs_joint": "rel_pos_params_saving",
}
"""Likewise of a layer, or of a kind of layer."""

OF_PLACES = {"layers": LAYER, "parts": PART}
MEASURED = "measured"
ROOTS = (
    *("totals", "layers", "parts", "shares", "comparison", "training", "changes", "device", MEASURED),
    *("published", "config"),
)
"""Where the paths of an analysis begin."""

WINDOW, GLOBAL = KINDS = ("window", "global")
COUNT = "count"
"""Of a kind of layer: how many there are."""

UNITS = {
    "B": re.compile(r"(.*_)?bytes(_per_head)?"),
    "FLOP": re.compile(r"(.*_)?flops"),
    "MAC": re.compile(r"(.*_)?macs"),
    "params": re.compile(r"(.*_)?params"),
    "ms": re.compile(r".*_ms"),
}


def path_of(metric: str, *, training: bool = False) -> str:
    """The path of a metric in an analysis whose run is an inference forward, or a training step."""
    root, _, rest = metric.partition(".")
    names = OF_PLACES.get(root, {})
    place, _, name = rest.rpartition(".")
    path = f"{root}.{place}.{names[name]}" if place and name in names else ENCODER.get(metric, metric)
    return path.replace(PEAK, "training_bytes" if training else "peak_bytes")


def unit_of(metric: str) -> str:
    """The unit of a metric: B, FLOP, MAC, params, ms, or "" of shares, ratios and counts."""
    last = path_of(metric).rpartition(".")[2]
    return next((unit for unit, keys in UNITS.items() if keys.fullmatch(last)), "")


def is_gain(metric: str) -> bool:
    """Whether more of it is better: a saving, or a ratio of what something else costs to this."""
    return path_of(metric).endswith(("_saving", "_ratio"))


def is_share(metric: str) -> bool:
    """Whether it is a share of something, at most all of it, such as a saving."""
    return path_of(metric).endswith("_saving")


def unknown(metric: str) -> str:
    """What is wrong with the name of a metric, as far as it can be told without an encoder; "" if nothing."""
    root, dot, rest = metric.partition(".")
    if metric in ENCODER:
        return ""
    if root == MEASURED:
        known = [name for name in ENCODER if name.startswith(f"{MEASURED}.")]
        return f"there is no metric {metric!r}, but {' and '.join(known)}"
    if dot and rest and root in ROOTS:
        return ""
    hint = did_you_mean(root, ROOTS) if dot else meant(metric, ENCODER)
    return f"there is no metric {metric!r}{hint or instead()}"


def meant(name: str, known: Iterable[str]) -> str:
    """As `did_you_mean`, of metrics: limits call by "peak_memory" and "latency" what JSON calls "peak_bytes" and "latency_ms"."""
    known = list(known)
    ends = [*ENDS, *(end[::-1] for end in ENDS)]
    others = (f"{name.removesuffix(here)}{there}" for here, there in ends if name.endswith(here))
    other = next((word for word in others if word in known), None)
    return f"; did you mean '{other}'?" if other else did_you_mean(name, known)


def instead() -> str:
    """What there is in place of a metric that there is not."""
    return f": use {', '.join(ENCODER)}, or the path of a number of `samattn analyze --format json`"
