"""Checks that each part takes the layout that the part before it outputs: a grid, a sequence, or packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from ..errors import Message
from .layouts import TokenLayout
from .model import EncoderConfig
from .registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS
from .slots import Part, Problem

Step = tuple[tuple[int | str, ...], str, TokenLayout | None, TokenLayout]
"""The path of a part's key, its name, and its input and output layouts; the patch embedding has no input layout."""


def layout_problems(config: EncoderConfig) -> Iterator[Problem]:
    """The first part that does not take the layout which the part before it outputs; the parts after it may be right."""
    for (_, before, _, output), (loc, name, wanted, _) in pairwise(_steps(config)):
        if wanted != output:
            hint = _hint(config, loc, wanted)
            message = f"{name} takes {(wanted or output).words}, but {before} outputs {output.words}{hint}"
            yield loc, Message("layout-mismatch", message)
            return


def _steps(config: EncoderConfig) -> Iterator[Step]:
    patch = PATCH_EMBEDS[config.patch_embed]
    yield ("patch_embed",), f"patch_embed {config.patch_embed}", None, patch.makes
    yield from _part(("pos_embed",), "pos_embed", config.pos_embed, POS_EMBEDS)
    for number, stage in enumerate(config.stages):
        yield from _part(("stages", number, "transition"), "transition", stage.transition, TRANSITIONS)
        layout = BLOCKS[stage.block].layout
        yield ("stages", number, "block"), f"block {stage.block}", layout, layout
    yield from _part(("neck",), "neck", config.neck, NECKS)


def _part(loc: tuple[int | str, ...], slot: str, word: str, words: Mapping[str, Part]) -> Iterator[Step]:
    if word != NONE:
        part = words[word]
        yield loc, f"{slot} {word}", part.takes, part.made


def _hint(config: EncoderConfig, loc: tuple[int | str, ...], wanted: TokenLayout | None) -> str:
    """The position embeddings that output this layout, if it is the first stage that needs it."""
    if loc != ("stages", 0, "block"):
        return ""
    patch = PATCH_EMBEDS[config.patch_embed].makes
    makers = [word for word, part in POS_EMBEDS.items() if part.made == wanted and part.takes == patch]
    *most, last = makers or [""]
    return f": use pos_embed {' or '.join(filter(None, (', '.join(most), last)))}" if makers else ""
