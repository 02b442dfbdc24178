"""A part or block of an encoder passed over the Tape on symbols, which gives its formulas.

The sizes of the input and of the block are symbols. Their values in the config decide the branches of the pass, so that
the operations are those of the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import prod
from typing import Any

from ..encoder.implementations import code_of
from ..encoder.keys import Size
from ..encoder.model import EncoderConfig, StageConfig
from ..encoder.placement import UNCUT, each_is
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import NECKS, POS_EMBEDS, TRANSITIONS
from ..encoder.slots import Part, sides_of
from ..encoder.trained import trains_all
from ..records import dataclass, replace
from ..tape.driver import call
from ..tape.ops import Recording
from ..tape.segments import Segment
from ..tape.settings import tape_for, weights_of
from ..tape.storage import Shape, Storage
from ..tape.symbols.formula import Integer
from ..tape.symbols.space import Space
from ..tape.tensor import IMAGE_DIMS, Tensor
from ..units import ITEM_BYTES, is_square
from .tapped import GRID, WINDOW, taps_of, window_in


@dataclass(frozen=True, kw_only=True)
class SymbolicStage(StageConfig):
    """A stage whose hidden widths (products of a width and a ratio) are separate symbols."""

    hidden: Integer
    adapter_hidden: Integer

    @property
    def mlp_dim(self) -> Integer:
        """Hidden width of the MLP."""
        return self.hidden

    @property
    def adapter_dim(self) -> Integer:
        """Hidden width of an adapter."""
        return self.adapter_hidden


@dataclass(frozen=True)
class Symbolic:
    """A segment on symbols: its recording, the space of its symbols, the symbols by name, their meanings, and its inputs."""

    space: Space
    names: Mapping[str, Integer]
    recording: Recording
    meanings: Mapping[str, str]
    entries: tuple[Tensor, ...]


PACKED_DIMS = 2
"""Those of a packed sequence, (tokens, C)."""

DECLARED: dict[str, Mapping[str, Part]] = {
    "pos_embeds": POS_EMBEDS,
    "transitions": TRANSITIONS,
    "necks": NECKS,
}


MEANINGS = {
    "B": "images per pass (run.batch_size)",
    "T": "tokens along the frames, or the depth, of the grid that enters",
    "H": "tokens down the grid that enters",
    "W": "tokens across the grid that enters",
    "p": "side of a patch, in pixels (patch_size)",
    "q": "frames, or depth, of a patch (patch_size)",
    "r": "width of a patch, of which p is the height, in pixels (patch_size)",
    "c": "channels of the image (in_chans)",
    "w": "side of a window, in tokens (window_size)",
    "t": "frames, or depth, of a window, in tokens (window_size)",
    "v": "height of a window, in tokens (window_size)",
    "u": "width of a window, in tokens (window_size)",
    "k": "windows along each side of the grid (num_windows_side)",
    "m": "windows down the grid (num_windows_side)",
    "n": "windows across the grid (num_windows_side)",
    "h": "attention heads (num_heads)",
    "d": "width of a head, C / h",
    "C": "width of the tokens (embed_dim), h d",
    "D": "width of the tokens that enter (embed_dim of the stage before)",
    "M": "hidden width of the MLP (embed_dim * mlp_ratio)",
    "A": "hidden width of an adapter (embed_dim * adapter_ratio)",
    "s": "bytes of a number (run.dtype)",
    "N": "tokens of an image that enter, class tokens included",
    "E": "width of the tokens that leave",
    "O": "channels that leave (out_chans)",
    "L": "bytes live before it: weights, image, what enters",
}
"""The meanings of the symbols of formulas."""

OF_A_NUMBER = {
    "v": "height of a window, in tokens (the grid's over num_windows_side)",
    "u": "width of a window, in tokens (the grid's over num_windows_side)",
}
"""The meanings of symbols that differ if the grid is cut into a number of windows."""


def symbolic(
    config: EncoderConfig, segment: Segment, *, live_bytes: int | None = None, training: bool = False
) -> Symbolic:
    """Pass one segment of an encoder over the Tape on symbols; with `live_bytes` (live before it), L is a symbol too."""
    part, in_mode = _part_of(config, segment), training and config.has_modes
    training = training or config.run.keeps_graph
    taps = taps_of(part, segment, config.run.batch_size)
    values = values_of(config, segment, live_bytes=live_bytes)
    space = Space(values)
    names = _with_grid({name: space.symbol(name) for name in space.points})
    placed = _layer(part, names) if isinstance(part, LayerConfig) else _part(part, names)
    tape = tape_for(config.run, names["s"], training=training, in_training_mode=in_mode)
    entry = segment.entries[0]
    shape = _laid_out(_shape(part, names), _in_numbers(part, values), entry)
    entered = _entered(entry, shape, names["s"])
    with weights_of(tape, config, part.name, freezes=training and not trains_all(config.run.trains)):
        entries = (entered, *(tap.entered(names, entered.shape) for tap in taps))
        tape.last_used = _last_used(segment, entries)
        call(tape, placed, entries, config.run.attention, code_of(config))
    meanings = {name: meaning for tap in taps for name, meaning in tap.meanings.items()}
    recording = tape.recording(is_checkpointed=segment.is_checkpointed)
    all_meanings = MEANINGS | (OF_A_NUMBER if _counts(names) else {}) | meanings
    return Symbolic(space, names, recording, all_meanings, entries)


def _last_used(segment: Segment, entries: Sequence[Tensor]) -> tuple[Storage, ...]:
    """The storages of inputs that no later part uses, which the segment may drop before its end."""
    freed = {storage for op in segment.recording.ops for storage in op.frees}
    own = {entry.storage: symbolic.storage for entry, symbolic in zip(segment.entries, entries, strict=True)}
    return tuple(storage for entered, storage in own.items() if entered in freed)


def values_of(config: EncoderConfig, segment: Segment, *, live_bytes: int | None = None) -> dict[str, int]:
    """The values of the symbols of a segment."""
    part = _part_of(config, segment)
    values = _of_layer(part) if isinstance(part, LayerConfig) else _of_part(part)
    values |= {"B": config.run.batch_size, "s": ITEM_BYTES[config.run.dtype]}
    values |= {} if live_bytes is None else {"L": live_bytes}
    for tap in taps_of(part, segment, config.run.batch_size):
        values |= tap.values
    return _with_tokens(values, part, segment.entries[0])


def _part_of(config: EncoderConfig, segment: Segment) -> PartConfig | LayerConfig:
    return next(part for part in config.plan if part.name == segment.name)


def _of_layer(layer: LayerConfig) -> dict[str, int]:
    """The values of a block's symbols."""
    stage = layer.stage
    values = _of_axes(GRID, layer.grid)
    values |= {"h": stage.num_heads, "d": stage.embed_dim // stage.num_heads}
    values |= {"M": stage.mlp_dim, "A": stage.adapter_dim}
    values |= _of_cut(layer.cut, layer.grid)
    if layer.is_windowed:
        values |= _of_windows(layer)
    _without_grid(values)
    return values if layer.in_dim == stage.embed_dim else values | {"D": layer.in_dim}


def _of_windows(layer: LayerConfig) -> dict[str, int]:
    """The values of the symbols of a block's windows; those of a number of them are square on some grids only."""
    if layer.placement.size is None:
        return _of_cut(layer.placement.count, layer.grid)
    size = layer.windows.size
    return {"w": size[0]} if is_square(size) else _of_axes(WINDOW, size)


def _of_axes(symbols: Sequence[str], size: Size) -> dict[str, int]:
    """The values of the symbols of a size along the axes of a grid: of an image the last two."""
    return dict(zip(symbols[-len(size) :], size, strict=True))


def _of_cut(count: Size, grid: Size) -> dict[str, int]:
    """The values of the symbols of a grid that is cut into a number of windows; nothing if it is not cut."""
    if each_is(1, count):
        return {}
    (down, across), (high, wide) = count, (side // often for side, often in zip(grid, count, strict=True))
    return ({"k": down} if down == across else {"m": down, "n": across}) | {"v": high, "u": wide}


def _without_grid(values: dict[str, int]) -> None:
    """Leave out the sides of the grid if a number of windows and their sides make it."""
    if _counts(values):
        del values["H"], values["W"]


def _of_part(part: PartConfig) -> dict[str, int]:
    """The values of a part's symbols."""
    values = _of_axes(GRID, part.entering.grid) | {"C": part.entering.dim}
    values |= _of_cut(_cut_of(part), part.entering.grid)
    _without_grid(values)
    if part.name == "patch_embed":
        patch = part.config.patch_size
        values |= _of_axes(_patch_symbols(patch), patch) if isinstance(patch, tuple) else {"p": patch}
        values |= {"c": part.config.in_chans}
    if part.slot == "necks":
        values |= {"O": part.config.out_chans}
    return values if part.leaving.dim == part.entering.dim else values | {"E": part.leaving.dim}


def _layer(layer: LayerConfig, names: Mapping[str, Integer]) -> LayerConfig:
    """A block with symbols for its sizes."""
    width, heads = names["h"] * names["d"], names["h"]
    where = layer.placement
    counts = _counts(names)
    if layer.is_windowed:
        where = replace(where, count=counts) if counts else replace(where, size=window_in(names))
    keys = {field.name: getattr(layer.stage, field.name) for field in fields(layer.stage)}
    made = keys | {"embed_dim": width, "num_heads": heads}
    stage = SymbolicStage(**made, hidden=names["M"], adapter_hidden=names["A"])
    if layer.rel_pos_size == layer.grid:
        stage = replace(stage, rel_pos_grid=None)
    return replace(
        layer,
        stage=stage,
        grid=_grid(names),
        in_dim=names.get("D", width),
        placement=where,
        **_cut_into(counts, layer.cut, layer.extra_tokens),
    )


def _cut_of(part: PartConfig | LayerConfig) -> Size:
    """The windows that enter a part as images of their own, or that leave it so."""
    if isinstance(part, LayerConfig):
        return part.cut
    return part.entering.cut if part.entering.cut != UNCUT else part.leaving.cut


def _cut_into(counts: tuple[Integer, ...] | None, cut: Size, extra_tokens: int) -> dict[str, Any]:
    """The windows of a stream and its other tokens, as many in each window, with symbols; nothing if it is not cut."""
    if counts is None or cut == UNCUT:
        return {}
    return {"cut": counts, "extra_tokens": extra_tokens // prod(cut) * prod(counts)}


def _grid(names: Mapping[str, Integer]) -> tuple[Integer, ...]:
    """The sides of the grid."""
    return tuple(names[axis] for axis in GRID if axis in names)


def _counts(names: Mapping[str, Integer]) -> tuple[Integer, ...] | None:
    """Windows down and across, where the grid is cut into a number of them."""
    if "k" in names:
        return names["k"], names["k"]
    return (names["m"], names["n"]) if "m" in names else None


def _with_grid(names: Mapping[str, Integer]) -> dict[str, Integer]:
    """The symbols with the sides of the grid: if it is cut into a number of windows, that number times their side."""
    if not (counts := _counts(names)):
        return dict(names)
    sides = zip(GRID[-len(counts) :], counts, window_in(names), strict=True)
    return dict(names) | {name: count * side for name, count, side in sides}


def _part(part: PartConfig, names: Mapping[str, Integer]) -> PartConfig:
    """A part with symbols for its sizes."""
    config = _encoder(part, names)
    cut = _cut_into(_counts(names), part.entering.cut, part.entering.extra_tokens)
    entering = replace(part.entering, grid=_grid(names), dim=names["C"], **cut)
    leaving = (
        entering if part.slot not in DECLARED else DECLARED[part.slot][part.word].leaving(config, entering)
    )
    leaving = replace(leaving, dim=names.get("E", names["C"]))
    return replace(part, config=config, entering=entering, leaving=leaving)


def _encoder(part: PartConfig, names: Mapping[str, Integer]) -> EncoderConfig:
    """The encoder around a part, with symbols for the keys that the part may read."""
    config = replace(part.config, run=replace(part.config.run, batch_size=names["B"]))
    if part.entering.grid == config.grid:
        config = replace(config, image_size=_pixels(part, names), patch_size=_patch(part, names))
        first, *others = config.stages
        if first.embed_dim == part.entering.dim:
            first = replace(
                first, embed_dim=names["C"], num_windows_side=_counts(names) or first.num_windows_side
            )
            config = replace(config, stages=(first, *others))
    return replace(
        config, in_chans=names.get("c", config.in_chans), out_chans=names.get("O", config.out_chans)
    )


def _patch(part: PartConfig, names: Mapping[str, Integer]) -> Any:
    """The patch, with symbols for its sides if the part has them: a number, or as many as there are axes."""
    if not isinstance(part.config.patch_size, tuple):
        return names.get("p", part.config.patch_size)
    patch = part.config.patch_size
    return tuple(names.get(symbol, side) for symbol, side in zip(_patch_symbols(patch), patch, strict=True))


def _patch_symbols(patch: Size) -> tuple[str, ...]:
    """The symbols of the sides of a patch of videos: one for height and width if they are equal."""
    *_, height, width = patch
    return ("q", "p", "p" if height == width else "r")


def _pixels(part: PartConfig, names: Mapping[str, Integer]) -> tuple[Integer, ...]:
    """The image size for a grid of symbols: the patches, and the remainder of the image."""
    config, grid = part.config, _grid(names)
    patch = sides_of(_patch(part, names), len(grid))
    rests = [
        side - number * own
        for side, number, own in zip(config.image_size, config.grid, config.patch, strict=True)
    ]
    return tuple(tokens * side + rest for tokens, side, rest in zip(grid, patch, rests, strict=True))


def _shape(part: PartConfig | LayerConfig, names: Mapping[str, Integer]) -> Shape:
    """The shape of the stream that enters."""
    B, grid = names["B"], _grid(names)
    if isinstance(part, PartConfig) and part.name == "patch_embed":
        return _encoder(part, names).input_shape
    if isinstance(part, LayerConfig):
        width, extra = names.get("D"), part.extra_tokens
        width = names["h"] * names["d"] if width is None else width
    else:
        width, extra = names["C"], part.entering.extra_tokens
    if part.layout.cuts_images and (counts := _counts(names)):
        B, grid, extra = B * prod(counts), window_in(names), extra // prod(_cut_of(part))
    return part.layout.shape(B, grid, names.get("N", prod(grid) + extra), width)


def _with_tokens(values: dict[str, int], part: PartConfig | LayerConfig, entry: Tensor) -> dict[str, int]:
    """The values, with N if the tokens that enter are not those of the grid."""
    shape = _in_numbers(part, values)
    if part.name == "patch_embed" or _laid_out(shape, shape, entry) == entry.shape:
        return values
    return values | {"N": prod(entry.shape[:-1]) // values["B"]}


def _in_numbers(part: PartConfig | LayerConfig, values: Mapping[str, int]) -> Shape:
    """The shape of the stream that enters, in numbers."""
    return _shape(part, _with_grid(values) | {"C": values.get("C", 0)})


def _laid_out(shape: Shape, numbers: Shape, entry: Tensor) -> Shape:
    """A shape of the stream, (B, H, W, C), as an implementation has it: also (B, HW, C) or (B, C, H, W).

    A packed sequence, (tokens, C), is (1, tokens, C) there.

    Args:
        shape: the shape, which may have symbols.
        numbers: the same in numbers.
        entry: the stream as the implementation has it.
    """
    if len(shape) != len(entry.shape):
        if len(shape) == PACKED_DIMS:
            return 1, *shape
        B, *grid, C = shape
        return B, prod(grid), C
    if len(shape) >= IMAGE_DIMS and _has_channels_first(numbers, entry):
        B, *grid, C = shape
        return B, C, *grid
    return shape


def _has_channels_first(numbers: Shape, entry: Tensor) -> bool:
    """Whether tokens on a grid, (B, H, W, C), are (B, C, H, W); for a grid as wide as its tokens, their memory tells."""
    B, *grid, C = numbers
    first = (B, C, *grid)
    return entry.stride[1] == 1 if entry.shape == numbers == first else entry.shape == first


def _entered(entry: Tensor, shape: Shape, item_bytes: Integer) -> Tensor:
    """The input, with a shape of symbols; its strides stay numbers, because they only decide branches."""
    item_bytes = item_bytes if entry.item_bytes == item_bytes else entry.item_bytes
    return replace(
        entry,
        shape=shape,
        steps=entry.stride,
        item_bytes=item_bytes,
        storage=Storage(prod(shape) * item_bytes),
    )
