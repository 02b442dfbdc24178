"""What a reader would want pointed out in an analysis, in plain words with the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

from ..config.keys import Pair
from ..config.model import EncoderConfig
from ..report import Comparisons, Finding, LayerReport, Totals
from ..units import format_bytes, format_percent, format_ratio

WORTH_SAVING = 0.01  # of peak memory


def findings(
    config: EncoderConfig, layers: Sequence[LayerReport], totals: Totals, comparison: Comparisons
) -> tuple[Finding, ...]:
    """The findings of an analysis."""
    kinds = {(layer.stage, layer.window_size): layer for layer in layers if layer.attention == "window"}
    found = [*_dropped_pixels(config), *_joint_tables(config, layers)]
    for layer in kinds.values():
        twins = [
            twin for twin in layers if (twin.stage, twin.window_size) == (layer.stage, layer.window_size)
        ]
        found += [*_padding(layer, len(twins)), *_windows_that_cost(layer, len(twins))]
    if kinds:
        found += [*_whole_against_part(next(iter(kinds.values())), comparison), *_peak(totals, comparison)]
    if all(layer.windows > 1 for layer in layers):
        message = "No layer is global: no block passes anything from one window to another."
        found.append(Finding("no-global-layer", message))
    return tuple(found)


def _dropped_pixels(config: EncoderConfig) -> Iterator[Finding]:
    height, width = config.image_size
    rest = height % config.patch_size, width % config.patch_size
    if any(rest):
        seen = height - rest[0], width - rest[1]
        yield Finding(
            "dropped-pixels",
            f"The image, {_by(config.image_size)}, is not a multiple of the patch, {config.patch_size}: the patch "
            f"convolution drops the last {rest[0]} rows and {rest[1]} columns of pixels and sees {_by(seen)}, "
            f"a grid of {_by(config.grid)}. So do the figures here.",
        )


def _joint_tables(config: EncoderConfig, layers: Sequence[LayerReport]) -> Iterator[Finding]:
    joint = [layer for layer in layers if config.stages[layer.stage].rel_pos == "joint"]
    if joint:
        sizes = (layer.grid if layer.attention == "global" else layer.window_size for layer in joint)
        height, width = max(sizes, key=_area)
        entries, decomposed = (2 * height - 1) * (2 * width - 1), 2 * height - 1 + 2 * width - 1
        yield Finding(
            "joint-rel-pos",
            f"The largest joint relative-position table has {entries:,} entries a channel; decomposed ones have "
            f"{decomposed:,}, {format_percent(1 - decomposed / entries)} fewer, and no vector for each pair of tokens.",
        )


def _padding(layer: LayerReport, count: int) -> Iterator[Finding]:
    if layer.padded_grid == layer.grid:
        return
    tokens, padded = _area(layer.grid), _area(layer.padded_grid)
    if all(window >= side for window, side in zip(layer.window_size, layer.grid, strict=True)):
        what = f"The window, {_by(layer.window_size)}, is larger than the grid, {_by(layer.grid)}: each windowed layer is "
        what += "one window that sees everything, padding included."
    else:
        what = f"Padding {_by(layer.grid)} to {_by(layer.padded_grid)}"
        what += (
            f" makes {_layers(count)} run qkv and proj on {format_percent(padded / tokens - 1)} more tokens"
        )
        what += f" ({padded:,} for {tokens:,})."
    yield Finding("padding", f"{what}{_without_padding(layer)}")


def _without_padding(layer: LayerReport) -> str:
    """The nearest square windows that divide the grid."""
    common, side = gcd(*layer.grid), layer.window_size[0]
    divisors = [size for size in range(2, common + 1) if common % size == 0]
    below = [size for size in divisors if size < side][-1:]
    above = [size for size in divisors if size > side][:1]
    nearest = [str(size) for size in below + above]
    if not nearest:
        return ""
    return f" A window of {' or '.join(nearest)} needs none."


def _windows_that_cost(layer: LayerReport, count: int) -> Iterator[Finding]:
    ratio = layer.vs_global.layer_flops_ratio
    if ratio < 1:
        yield Finding(
            "windows-cost-more",
            f"At this resolution windowing costs more than it saves: each of {_layers(count)} takes "
            f"{format_ratio(1 / ratio)} the FLOPs of the same layer made global.",
        )


def _whole_against_part(layer: LayerReport, comparison: Comparisons) -> Iterator[Finding]:
    vs = layer.vs_global
    if vs.layer_flops_ratio > 1:
        yield Finding(
            "whole-against-part",
            f"A window makes a layer's score products {format_ratio(vs.scores_flops_ratio)} cheaper, the layer "
            f"{format_ratio(vs.layer_flops_ratio)} and the encoder {format_ratio(comparison.vs_all_global.flops_ratio)}: "
            "qkv, proj and MLP do not shrink.",
        )


def _peak(totals: Totals, comparison: Comparisons) -> Iterator[Finding]:
    against = comparison.vs_all_global
    if comparison.vs_all_window is None or comparison.vs_all_window.flops == totals.flops:
        return
    if abs(against.peak_bytes_saving) < WORTH_SAVING:
        yield Finding(
            "one-global-layer-sets-the-peak",
            f"One global layer sets the inference peak ({format_bytes(totals.peak_bytes)} at {totals.peak_at}): with every "
            f"layer global it is {format_bytes(against.peak_bytes)}, with none "
            f"{format_bytes(comparison.vs_all_window.peak_bytes)}.",
        )


def _layers(count: int) -> str:
    return "the one windowed layer" if count == 1 else f"the {count} windowed layers"


def _area(size: Pair) -> int:
    return size[0] * size[1]


def _by(size: Pair) -> str:
    return f"{size[0]}x{size[1]}"
