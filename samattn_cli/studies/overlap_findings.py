"""Findings on windows whose keys come from larger windows, as in HAT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from ..encoder.model import EncoderConfig
from ..reports.analysis import Finding, LayerReport
from ..units import format_bytes, format_ratio, format_size, format_things


def of_overlaps(config: EncoderConfig, layers: Sequence[LayerReport]) -> Iterator[Finding]:
    """What larger windows of keys cost: more scores, and copies of keys and values, which lie in several windows."""
    pairs = zip(config.layers, layers, strict=True)
    reaching = [(layer, report) for layer, report in pairs if layer.placement.reach != (0, 0)]
    if not reaching:
        return
    layer, report = max(reaching, key=lambda pair: pair[1].attention_bytes)
    times = format_ratio(prod(layer.keys_size) / prod(layer.windows.size))
    verb = "compares" if len(reaching) == 1 else "compare"
    yield Finding(
        "overlapping-windows",
        f"{format_things(len(reaching), 'layer')} {verb} the queries of a window of {format_size(layer.windows.size)} with the keys "
        f"of one of {format_size(layer.keys_size)} around it: {times} the scores of windows that do not overlap "
        f"({format_bytes(report.attention_bytes)} in {report.name}), and {times} the keys and values, which are copied for each "
        "window.",
    )
