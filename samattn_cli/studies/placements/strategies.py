"""Named strategies of placing global layers, defined over the layers that can be windowed or global, in order.

`none`        none of them.
`all`         every one.
`even:K`      the last layer of each of K parts of equal size (ViTDet's). With 24 layers, even:4 takes 5, 11, 17, 23.
`first:K`     the first K.
`last:K`      the last K.
`every:K`     every Kth layer: K-1, 2K-1, ... With 24 layers, every:4 takes 3, 7, 11, 15, 19, 23.
`alternate`   every second layer, as every:2.
`shifted`     none of them, and every other block's windows are shifted by half a window.
`7,15,23`     these layers, counted over the whole encoder as in 'blocks.7'.

In an encoder of several stages, layers are counted through all stages, and layers without a window stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...encoder.model import EncoderConfig
from ...encoder.placed import placed
from ...errors import UsageError, at_place, did_you_mean
from ...records import dataclass, replace
from ...units import format_things
from .placing import global_layers, movable, problem_of, shifted, windowed

Pick = Callable[[Sequence[int], int], Sequence[int]]

SHIFTED = "shifted"
WHOLE: dict[str, Callable[[EncoderConfig], EncoderConfig]] = {
    "none": EncoderConfig.all_windowed,
    "all": EncoderConfig.all_global,
    SHIFTED: shifted,
}
OF_ALL: dict[str, Callable[[Sequence[int]], Sequence[int]]] = {
    "alternate": lambda layers: layers[1::2],
}
OF_A_NUMBER: dict[str, Pick] = {
    "even": lambda layers, parts: [layers[part * len(layers) // parts - 1] for part in range(1, parts + 1)],
    "first": lambda layers, number: layers[:number],
    "last": lambda layers, number: layers[-number:],
    "every": lambda layers, step: layers[step - 1 :: step],
}
KNOWN = (*WHOLE, *OF_ALL, *(f"{name}:4" for name in OF_A_NUMBER))
DEFAULT = ("none", "all", "even:4", "first:4", "last:4", "every:4", "alternate", SHIFTED)

NAMED = re.compile(r"([a-z]+):(\d+)")
LISTED = re.compile(r"\d+(\s*,\s*\d+)*")


@dataclass(frozen=True)
class ComparedEncoder:
    """One of the compared encoders: the names of its placement, its config, its global layers."""

    names: tuple[str, ...]
    config: EncoderConfig
    layers: tuple[int, ...]

    @classmethod
    def of(cls, config: EncoderConfig, *names: str) -> ComparedEncoder:
        """The placement of a config."""
        return cls(names, config, global_layers(config))

    @property
    def where(self) -> tuple[object, ...]:
        """How its layers attend, which distinguishes it from other placements."""
        return tuple(layer.placement for layer in self.config.layers)


def placement(config: EncoderConfig, text: str) -> ComparedEncoder:
    """The placement of a strategy or a list of layers.

    Raises:
        UsageError: if there is no such strategy, or it is not valid for the encoder.
    """
    text = text.strip()
    where = f"--placements {text}"
    try:
        windowed(config)
        made = WHOLE[text](config) if text in WHOLE else placed(config, _chosen(config, text))
    except UsageError as error:
        raise UsageError(at_place(where, error.message)) from None
    if problem := problem_of(made):
        raise UsageError(at_place(where, problem))
    return ComparedEncoder.of(made, text)


def _chosen(config: EncoderConfig, text: str) -> Sequence[int]:
    layers = movable(config)
    if text in OF_ALL:
        return OF_ALL[text](layers)
    if LISTED.fullmatch(text):
        return _checked(config, [int(index) for index in text.split(",")])
    match = NAMED.fullmatch(text)
    if match is None or match[1] not in OF_A_NUMBER:
        hint = did_you_mean(text, KNOWN)
        known = ", ".join((*WHOLE, *OF_ALL, *(f"{name}:K" for name in OF_A_NUMBER)))
        raise UsageError("unknown-strategy", f"must be one of {known}, or layers such as 7,15,23,31{hint}")
    number = int(match[2])
    if not 1 <= number <= len(layers):
        has = format_things(len(layers), "layer")
        most = f"1 to {len(layers)}" if len(layers) > 1 else "1"
        raise UsageError(
            "out-of-range", f"{config.name} has {has} that can be windowed or global; use {most}"
        )
    return OF_A_NUMBER[match[1]](layers, number)


def _checked(config: EncoderConfig, indexes: list[int]) -> list[int]:
    """The indexes, each of which must be a block and must occur once.

    Raises:
        UsageError: if one is not or does not.
    """
    depth = len(config.layers)
    for index in indexes:
        if index >= depth:
            raise UsageError("unknown-layer", f"no block {index}; {config.name} has blocks 0 to {depth - 1}")
        if indexes.count(index) > 1:
            raise UsageError("given-twice", f"block {index} is given twice")
    return indexes


def placements(
    config: EncoderConfig, asked: Sequence[str]
) -> tuple[tuple[ComparedEncoder, ...], tuple[str, ...]]:
    """The config's own placement and those of `asked` (or of `DEFAULT`), and why some of `DEFAULT` are not valid.

    Placements that are the same encoder are merged, with all their names.

    Raises:
        UsageError: if one of `asked` is not valid, or no layer can be placed.
    """
    movable(config)
    own = ComparedEncoder.of(config, "own")
    if asked:
        return tuple(merged([own, *(placement(config, text) for text in asked)])), ()
    tried = [_tried(config, text) for text in DEFAULT]
    fitting = [each for each in tried if isinstance(each, ComparedEncoder)]
    return tuple(merged([own, *fitting])), tuple(each for each in tried if isinstance(each, str))


def _tried(config: EncoderConfig, text: str) -> ComparedEncoder | str:
    """The placement, or why it is not valid for the encoder."""
    try:
        return placement(config, text)
    except UsageError as error:
        return error.message.removeprefix("--placements ")


def merged(several: Sequence[ComparedEncoder]) -> list[ComparedEncoder]:
    """The placements, where those that are the same encoder are merged into the first, with the names of all."""
    by_where: dict[tuple[object, ...], ComparedEncoder] = {}
    for each in several:
        first = by_where.setdefault(each.where, replace(each, names=()))
        by_where[each.where] = replace(first, names=tuple(dict.fromkeys((*first.names, *each.names))))
    return list(by_where.values())
