"""The findings of an analysis: facts that a reader should know, in plain words with their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import gcd, prod

from ..encoder.implementations import implementation_of
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig, RunConfig, StageConfig
from ..encoder.registry import BLOCKS
from ..figures import PEAKS
from ..records import replace
from ..reports.analysis import (
    Change,
    Comparisons,
    DeviceReport,
    Figures,
    Finding,
    LayerReport,
    MemoryReport,
    Totals,
)
from ..shell import options
from ..tape.encoder import forward
from ..units import (
    format_bytes,
    format_percent,
    format_ratio,
    format_side,
    format_size,
    format_things,
    is_square,
)
from .channel_findings import of_channels
from .on_device import InMemory
from .overlap_findings import of_overlaps
from .window_findings import of_windows

WORTH_SAVING = 0.01  # of peak memory: a smaller difference is not worth a finding
MANY = 8  # times fewer tokens, which is more than one patch merging makes
MOST_GAINS = 2  # that are named one by one
FAR = 2  # a window this many times larger or smaller is not recommended


def findings(
    config: EncoderConfig,
    layers: Sequence[LayerReport],
    totals: Totals,
    comparison: Comparisons,
    changes: Sequence[Change],
    reference: Figures | None = None,
) -> tuple[Finding, ...]:
    """The findings of an analysis; `reference` has the figures of the reference if the encoder has an implementation."""
    windowed = [layer for layer in layers if layer.attention == "window"]
    kinds = list({_kind(layer): layer for layer in windowed}.values())
    counts = Counter(map(_kind, windowed))
    items = [*_implementation(config, totals, reference)] if reference else []
    items += [
        *_dropped_pixels(config),
        *_padded_image(config),
        *_joint_tables(config),
        *_compressed_tokens(config),
    ]
    items += [*_cut_that_costs(config, totals), *_unread_blocks(config, layers, totals)]
    for layer in kinds:
        which = _which(counts[_kind(layer)], layer, alone=len(kinds) == 1)
        items += [*_padding(layer, which), *_windows_that_cost(layer, which)]
    items += [*_whole_against_part(kinds, comparison), *_peak(layers, totals, comparison)]
    items += [*_best_change(config, totals, changes), *of_channels(config)]
    items += [*of_overlaps(config, layers), *of_windows(config, totals)]
    mixes = any(
        layer.has_residual_block
        or layer.is_shifted
        or layer.placement.reach != (0, 0)
        or BLOCKS[layer.stage.block].after
        or BLOCKS[layer.stage.block].pools
        for layer in config.kinds
    )
    if all(layer.windows > 1 for layer in layers) and not mixes:
        message = "No layer is global: no block exchanges information between windows."
        items.append(Finding("no-global-layer", message))
    return tuple(items)


def _implementation(config: EncoderConfig, totals: Totals, reference: Figures) -> Iterator[Finding]:
    """What the implementation does otherwise, and what that makes of the peak."""
    run = implementation_of(config)
    if run is None:
        return
    figure = PEAKS[config.run.mode]
    theirs, other = (format_bytes(getattr(figures, figure)) for figures in (totals, reference))
    differs = f"is {theirs}, and {other}" if theirs != other else f"is {theirs}, as"
    default = run.model.kernels[0]
    kernel = (
        ""
        if config.run.attention == default
        else f" Its default kernel is {default} (--attention {default})."
    )
    yield Finding(
        "implementation",
        f"{run.model.model} of {run.model.library} ({', '.join(run.model.versions)}) {run.model.difference}. The "
        f"{config.run.mode} peak {differs} with the reference's code ({options('--set', ('implementation=reference',))}).{kernel}",
    )


def _kind(layer: LayerReport) -> tuple[int, Size, Size]:
    """Windowed layers of one kind share their findings."""
    return layer.stage, layer.window_size, layer.grid


def _which(count: int, layer: LayerReport, *, alone: bool) -> str:
    """A name for the windowed layers of a kind."""
    where = "" if alone else f" of stage {layer.stage}"
    return f"the one windowed layer{where}" if count == 1 else f"each of the {count} windowed layers{where}"


def _dropped_pixels(config: EncoderConfig) -> Iterator[Finding]:
    rest = config.dropped
    if any(rest):
        nouns = ("frame", "row", "column")[-len(rest) :]
        lost = [format_things(number, noun) for number, noun in zip(rest, nouns, strict=True) if number]
        seen = [side - off for side, off in zip(config.image_size, rest, strict=True)]
        yield Finding(
            "dropped-pixels",
            f"The image, {format_size(config.image_size)}, is not a multiple of patch_size {format_side(config.patch)}: the "
            f"patch convolution drops the last {' and '.join(lost)} of pixels and sees {format_size(seen)}, a grid of "
            f"{format_size(config.grid)}. All figures here are for that grid.",
        )


def _padded_image(config: EncoderConfig) -> Iterator[Finding]:
    """An image that the patch embedding pads: all parts run on the padding too."""
    if config.padded_size == config.image_size:
        return
    pixels, padded = prod(config.image_size), prod(config.padded_size)
    yield Finding(
        "padded-image",
        f"The image, {format_size(config.image_size)}, is padded to {format_size(config.padded_size)}, whole windows, before the "
        f"first convolution: every part runs on {format_percent(padded / pixels - 1)} more pixels ({padded:,} instead of "
        f"{pixels:,}).",
    )


def _joint_tables(config: EncoderConfig) -> Iterator[Finding]:
    sizes = [layer.rel_pos_size for layer in config.kinds if layer.stage.rel_pos == "joint"]
    tables = [((2 * height - 1) * (2 * width - 1), 2 * height - 1 + 2 * width - 1) for height, width in sizes]
    entries, decomposed = max(tables, default=(0, 0))
    if decomposed < entries:
        yield Finding(
            "joint-rel-pos",
            f"The largest joint relative-position table has {entries:,} entries per channel; a decomposed pair has "
            f"{decomposed:,}, {format_percent(1 - decomposed / entries)} fewer.",
        )


def _compressed_tokens(config: EncoderConfig) -> Iterator[Finding]:
    """A transition that leaves global layers only a small share of the tokens."""
    for before, after in pairwise(config.layers):
        if before.stage_index == after.stage_index:
            continue
        tokens, left = prod(before.out_grid), prod(after.grid)
        if tokens < MANY * left or not after.is_global:
            continue
        following = sum(layer.is_global and layer.stage_index == after.stage_index for layer in config.layers)
        extra = after.extra_tokens
        scores = (tokens + extra) ** 2 / (left + extra) ** 2
        yield Finding(
            "compressed-tokens",
            f"transitions.{after.stage_index} reduces {tokens:,} tokens to {left:,}, {format_ratio(tokens / left)} fewer. "
            f"The score matrices of the {format_things(following, 'global layer')} after it are {format_ratio(scores)} "
            "smaller than those over all tokens.",
        )


def _padding(layer: LayerReport, which: str) -> Iterator[Finding]:
    if layer.padded_grid == layer.grid:
        return
    window, grid, padded = map(format_size, (layer.window_size, layer.grid, layer.padded_grid))
    if layer.windows == 1:
        what = f"The window, {window}, is larger than the grid, {grid}: {which} is one window over everything, padding "
        yield Finding("padding", f"{what}included. Global attention (window_size 0) needs no padding.")
        return
    before, after = prod(layer.grid), prod(layer.padded_grid)
    what = f"Padding {grid} to {padded} makes {which} run qkv and proj on {format_percent(after / before - 1)} more "
    what += f"tokens ({after:,} instead of {before:,})."
    nearest = " or ".join(_without_padding(layer.window_size, layer.grid))
    yield Finding("padding", f"{what} A window of {nearest} needs no padding." if nearest else what)


def _without_padding(window: Size, grid: Size) -> list[str]:
    """The nearest windows that divide the grid: the next smaller and larger square, or else one fitted to each axis."""
    side = window[0]
    common = _near(side, gcd(*grid)) if is_square(window) else []
    square = [size for size in common if (size, size) != grid]
    if square:
        below = [size for size in square if size < side][-1:]
        above = [size for size in square if size > side][:1]
        return [str(size) for size in below + above]
    sides = [
        part if whole % part == 0 else _nearest(part, whole) for part, whole in zip(window, grid, strict=True)
    ]
    return [str(sides)] if all(sides) and tuple(sides) != grid else []


def _nearest(side: int, number: int) -> int:
    """The divisor of `number` nearest to `side`; 0 if none is near."""
    return min(_near(side, number), key=lambda size: abs(size - side), default=0)


def _near(side: int, number: int) -> list[int]:
    """The divisors of `number` within a factor of `FAR` of `side`."""
    divisors = (size for size in range(2, number + 1) if number % size == 0)
    return [size for size in divisors if side <= FAR * size <= FAR**2 * side]


def _windows_that_cost(layer: LayerReport, which: str) -> Iterator[Finding]:
    ratio = layer.vs_global.layer_flops_ratio
    if ratio < 1:
        yield Finding(
            "windows-cost-more",
            f"At this resolution windowing costs more than it saves: {which} takes {format_ratio(1 / ratio)} "
            "the FLOPs of the same layer made global.",
        )


def _cut_that_costs(config: EncoderConfig, totals: Totals) -> Iterator[Finding]:
    """Windows that are cut once, each with tokens of its own, if the encoder has more FLOPs than without them."""
    first, *_ = config.layers
    windows = prod(first.cut)
    if windows == 1:
        return
    uncut = tuple(_uncut(stage) for stage in config.stages)
    without = forward(replace(config, stages=uncut)).flops
    if totals.flops <= without:
        return
    tokens, each = prod(first.grid), first.extra_tokens // windows
    yield Finding(
        "windows-cost-more",
        f"At this resolution windows cost more than they save: {totals.flops:,} FLOPs, {format_percent(totals.flops / without - 1)} "
        f"more than {without:,} without windows ({options('--set', ('num_windows_side=1',))}). Each of the {windows} windows has "
        f"{format_things(each, 'token')} of its own besides its patches, so that the blocks run on {tokens + first.extra_tokens:,} "
        f"tokens, and not on {tokens + each:,}.",
    )


def _unread_blocks(config: EncoderConfig, layers: Sequence[LayerReport], totals: Totals) -> Iterator[Finding]:
    """The last blocks, if the neck reads only outputs of blocks before them."""
    unread = config.unread and [layer for layer in layers if layer.name in config.unread]
    if not unread:
        return
    names = " and ".join(dict.fromkeys((unread[0].name, unread[-1].name)))
    if len(unread) > 2:  # noqa: PLR2004 - more than its ends
        names = f"{unread[0].name} to {unread[-1].name}"
    flops = sum(layer.flops for layer in unread)
    they, them, their = ("It takes", "it", "its") if len(unread) == 1 else ("They take", "them", "their")
    yield Finding(
        "unread-block",
        f"Nothing reads what {names} output{'s' * (len(unread) == 1)}: out_indices ends before {them}. {they} {flops:,} FLOPs, "
        f"{format_percent(flops / totals.flops)} of the encoder's. In a training step {their} weights get no gradient and no "
        f"state of the optimizer, and what is kept for {their} backward is freed when the neck has made its maps.",
    )


def _uncut(stage: StageConfig) -> StageConfig:
    overrides = tuple(override.unplaced for override in stage.overrides)
    return replace(stage, num_windows_side=None, overrides=overrides)


def _whole_against_part(kinds: Sequence[LayerReport], comparison: Comparisons) -> Iterator[Finding]:
    cheaper = [layer for layer in kinds if layer.vs_global.layer_flops_ratio > 1]
    if cheaper:
        # named one by one only if their windows differ, or a reader could not tell them apart
        sizes = {layer.window_size for layer in cheaper}
        one_by_one = len(cheaper) <= MOST_GAINS and len(sizes) == len(cheaper)
        gains = "; ".join(map(_gain, cheaper)) if one_by_one else _range_of_gains(cheaper)
        ratio = comparison.vs_all_global.flops_ratio
        whole = (
            f"is {format_ratio(ratio)} cheaper than"
            if ratio >= 1
            else f"takes {format_ratio(1 / ratio)} the FLOPs of"
        )
        message = f"{gains}. The encoder {whole} an all-global one; qkv, proj and MLP do not shrink."
        yield Finding("saving-of-encoder", message)


def _gain(layer: LayerReport) -> str:
    return (
        f"{format_size(layer.window_size)} windows make a layer's score products "
        f"{format_ratio(layer.vs_global.scores_flops_ratio)} cheaper and the layer "
        f"{format_ratio(layer.vs_global.layer_flops_ratio)}"
    )


def _range_of_gains(layers: Sequence[LayerReport]) -> str:
    """The smallest and the largest gain of windows of many kinds."""
    scores = sorted(layer.vs_global.scores_flops_ratio for layer in layers)
    whole = sorted(layer.vs_global.layer_flops_ratio for layer in layers)
    return f"Windows make a layer's score products {_range(scores)} cheaper and the layer {_range(whole)}"


def _range(ratios: Sequence[float]) -> str:
    """The first and the last of ratios in order; one if they read the same."""
    return " to ".join(dict.fromkeys(map(format_ratio, (ratios[0], ratios[-1]))))


def _peak(layers: Sequence[LayerReport], totals: Totals, comparison: Comparisons) -> Iterator[Finding]:
    windowed = comparison.vs_all_window
    at = next((layer for layer in layers if totals.peak_at.startswith(f"{layer.name}.")), None)
    if windowed is None or at is None or at.attention != "global":
        return
    as_all_global = abs(comparison.vs_all_global.peak_bytes_saving) < WORTH_SAVING
    if as_all_global and windowed.peak_bytes_saving < -WORTH_SAVING:
        yield Finding(
            "global-layer-sets-peak",
            f"One global layer sets the inference peak ({format_bytes(totals.peak_bytes)} at {totals.peak_at}): with all "
            f"layers global it is {format_bytes(comparison.vs_all_global.peak_bytes)}, and with none it is "
            f"{format_bytes(windowed.peak_bytes)}. {_training(totals, comparison)}",
        )


def _training(totals: Totals, comparison: Comparisons) -> str:
    """What windows save in training, which keeps the scores of every layer."""
    saving = comparison.vs_all_global.training_bytes_saving
    step = f"a training step takes {format_bytes(totals.training_bytes)}"
    if saving < WORTH_SAVING:
        return f"{step[0].upper()}{step[1:]}, with or without windows."
    other = format_bytes(comparison.vs_all_global.training_bytes)
    return f"Windows do save training memory: {step}, {format_percent(saving)} less than {other} with all layers global."


def _best_change(config: EncoderConfig, totals: Totals, changes: Sequence[Change]) -> Iterator[Finding]:
    if not changes or changes[0].peak_bytes_saving < WORTH_SAVING:
        return
    best, mode = changes[0], config.run.mode
    now = getattr(totals, PEAKS[mode])
    where = totals.training_at if mode == "training" else totals.peak_at
    yield Finding(
        "best-single-change",
        f"The single change that lowers the {mode} peak most is {best.change} ({options('--set', best.set)}): "
        f"{format_bytes(best.peak_bytes)} instead of {format_bytes(now)} at {where}, "
        f"{format_percent(best.peak_bytes_saving)} less.",
    )


def lacks(room: DeviceReport | MemoryReport | None) -> bool:
    """Whether a run does not fit a device or an amount of memory, and less of it would."""
    return room is not None and not room.fits and not room.refused


def fitting(
    room: DeviceReport | MemoryReport | None, fix: Change | None, *, is_pair: bool
) -> Iterator[Finding]:
    """One change, or else two, that make an encoder fit."""
    if room is None or not lacks(room):
        return
    where = f"on {room.name}" if isinstance(room, DeviceReport) else f"in {format_bytes(room.usable_bytes)}"
    if fix is None:
        message = f"No one or two changes of kernel, type or checkpointing make it fit {where}"
    elif is_pair:
        message = f"No single change makes it fit {where}; {_fits(fix)} do"
    else:
        message = f"{where[0].upper()}{where[1:]} {_fits(fix)} makes it fit"
    yield Finding("what-makes-it-fit", f"{message}.")


def steps_differ(device: DeviceReport, run: RunConfig, other: InMemory) -> Finding:
    """The first training step and later ones: one fits a device, and the other does not."""
    first, later = (device, other) if run.step == "first" else (other, device)
    peaks = [format_bytes(step.allocated_bytes or 0) for step in (first, later)]
    if first.fits:
        why = "the state of the optimizer, which the first step makes at its end, is live from its beginning"
        message = f"The first step fits {device.name} ({peaks[0]}), and later ones do not ({peaks[1]}): in those, {why}."
    else:
        why = "its optimizer's state is made next to all gradients"
        message = f"The first step does not fit {device.name} ({peaks[0]}), and later ones would ({peaks[1]}): {why}."
    return Finding("first-step-differs", message)


def _fits(change: Change) -> str:
    takes = format_bytes(change.peak_bytes)
    if change.allocated_bytes is not None and change.reserved_bytes is not None:
        takes = f"{format_bytes(change.allocated_bytes)} allocated, {format_bytes(change.reserved_bytes)} reserved"
    return f"{change.change} ({options('--set', change.set)}: {takes})"
