"""The rules between the keys of a config, each checked only where the keys it needs are sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from .applicable_keys import encoder_readers, unused_key, unused_keys
from .block_overrides import GIVEN, Override
from .block_overrides import problems as problems_of_overrides
from .kernels import unfit_heads, unfit_kernel, unfit_positions, unfit_shift
from .layouts import layout_problems
from .model import EncoderConfig
from .placement import NO_WINDOW
from .registry import BLOCKS, NECKS, NONE, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS
from .slots import Problem, shift_problems
from .tree import Loc, Node, Where
from .wording import field_at, short


def is_flat(tree: Node) -> bool:
    """Whether the file has its stage at the top level."""
    stages = tree.step("stages")
    return stages is not None and stages.key_where is None


class Rules:
    """The rules between keys, on the raw tree; a value that is missing or `broken` reads as None."""

    def __init__(self, tree: Node, broken: set[Loc]) -> None:
        self.tree = tree
        self.broken = broken
        self.flat = is_flat(tree)

    def _get(self, *loc: int | str) -> Any:
        if loc in self.broken:
            return None
        node = self.tree.at(loc)
        if node is not None:
            return node.plain()
        field = field_at(loc)
        return None if field is None or field.default is MISSING else field.default

    def problems(self) -> Iterator[tuple[Where, str]]:
        """Each broken rule: where, and what to do about it."""
        yield from self._image()
        for chooser in encoder_readers():
            yield from self._unused_keys((), chooser)
        yield from self._autocast()
        stages = self.tree.step("stages")
        first_block: int | None = 0
        for number in range(len(stages.value) if stages and isinstance(stages.value, list) else 0):
            yield from self._stage(number, first_block)
            depth = self._get("stages", number, "depth")
            first_block = None if first_block is None or depth is None else first_block + depth

    def _image(self) -> Iterator[tuple[Where, str]]:
        size, patch = self._get("image_size"), self._get("patch_size")
        if size is None or patch is None:
            return
        sides = size if isinstance(size, tuple) else (size,)
        if min(sides) < patch:
            where = self.tree.find(("image_size",)).where
            yield where, f"image_size {short(size)} is smaller than a patch of {patch}: use at least {patch}"

    def _stage(self, number: int, first_block: int | None) -> Iterator[tuple[Where, str]]:
        yield from self._keys(number)
        yield from self._heads(number)
        yield from self._kernel(number)
        yield from self._mlp(number)
        yield from self._window(number)
        yield from self._width(number)
        depth = self._get("stages", number, "depth")
        if first_block is not None and depth is not None:
            for key in ("global_attn_indexes", "residual_block_indexes"):
                yield from self._indexes(number, key, range(first_block, first_block + depth))
            yield from self._overrides(number, range(first_block, first_block + depth))

    def _places(self, number: int) -> list[Loc]:
        """The stage and its overrides: each may have a window, heads and an MLP of its own."""
        stage: Loc = ("stages", number)
        overrides = self._get(*stage, "overrides") or ()
        return [stage, *((*stage, "overrides", position) for position in range(len(overrides)))]

    def _heads(self, number: int) -> Iterator[tuple[Where, str]]:
        width = self._get("stages", number, "embed_dim")
        for place in self._places(number):
            heads = self._get(*place, "num_heads")
            if width and heads and width % heads:
                said = f"num_heads {heads} does not divide embed_dim {width}: use {_divisors(width, heads)}"
                yield self._at(place, "num_heads"), said

    def _kernel(self, number: int) -> Iterator[tuple[Where, str]]:
        """What the attention kernels take."""
        kernel, dtype, autocast = (self._get("run", key) for key in ("attention", "dtype", "autocast"))
        width, rel_pos = (self._get("stages", number, key) for key in ("embed_dim", "rel_pos"))
        where, block = self.tree.find(("run", "attention")).where, self._get("stages", number, "block")
        if kernel and block and (problem := unfit_kernel(kernel, block)):
            yield where, problem
            return
        if kernel and rel_pos and (problem := unfit_positions(kernel, rel_pos)):
            yield where, problem
        if None in {kernel, dtype, autocast, width}:
            return
        for place in self._places(number):
            heads = self._get(*place, "num_heads")
            if not heads or width % heads:
                continue
            if problem := unfit_heads(kernel, width, heads, dtype if autocast == "none" else autocast):
                yield where, problem

    def _autocast(self) -> Iterator[tuple[Where, str]]:
        autocast, dtype = self._get("run", "autocast"), self._get("run", "dtype")
        if autocast not in {None, "none"} and dtype not in {None, "float32"}:
            yield (
                self.tree.find(("run", "autocast")).where,
                f"run.autocast {autocast} is for weights in float32, not {dtype}: leave out one of the two",
            )

    def _mlp(self, number: int) -> Iterator[tuple[Where, str]]:
        width = self._get("stages", number, "embed_dim")
        for place in self._places(number):
            ratio = self._get(*place, "mlp_ratio")
            if width is not None and ratio is not None and int(width * ratio) < 1:
                said = f"mlp_ratio {ratio} leaves the MLP of width {width} no hidden channel"
                yield self._at(place, "mlp_ratio"), said

    def _window(self, number: int) -> Iterator[tuple[Where, str]]:
        for place in self._places(number):
            window = self._get(*place, "window_size")
            if isinstance(window, tuple) and window.count(0) == 1:
                said = f"window_size {short(window)} has one side 0"
                yield (
                    self._at(place, "window_size"),
                    f"{said}: use two sides above 0, or 0 for global attention",
                )

    def _keys(self, number: int) -> Iterator[tuple[Where, str]]:
        """The keys that a kind of block reads, and the words that it takes of them."""
        place: Loc = ("stages", number)
        yield from self._unused_keys(place, "block")
        block, rel_pos = self._get(*place, "block"), self._get(*place, "rel_pos")
        if None in {block, rel_pos} or "rel_pos" not in BLOCKS[block].keys:
            return
        if rel_pos not in (taken := BLOCKS[block].rel_pos):
            said = f"rel_pos of block {block} must be {' or '.join(taken)}, not {rel_pos}"
            yield self._at(place, "rel_pos"), said

    def _unused_keys(self, place: Loc, chooser: str) -> Iterator[tuple[Where, str]]:
        """The keys of an encoder or a stage that are written though its word of `chooser` does not read them."""
        word = self._get(*place, chooser)
        for key in unused_keys(chooser, word) if word is not None else ():
            node = self.tree.find(place).step(key)
            is_written = node is not None and node.value is not None  # null: as if it were left out
            if is_written and (*place, key) not in self.broken:
                yield self._at(place, key), unused_key(chooser, word, key)

    def _width(self, number: int) -> Iterator[tuple[Where, str]]:
        if not number:
            return
        before, width = (self._get("stages", at, "embed_dim") for at in (number - 1, number))
        transition, block = (self._get("stages", number, key) for key in ("transition", "block"))
        if None in {before, width, transition, block} or before == width or transition != NONE:
            return
        if not BLOCKS[block].changes_width:
            said = f"stages.{number}.embed_dim is {width} but stage {number - 1} hands on {before} channels"
            layout = BLOCKS[block].layout
            leading = (word for word, part in TRANSITIONS.items() if (part.makes or part.takes) == layout)
            other = f", or a transition ({', '.join(leading)})"
            yield (
                self._at(("stages", number), "embed_dim"),
                f"{said}, and {block} blocks keep the width: use {before}{other}",
            )

    def _overrides(self, number: int, blocks: range) -> Iterator[tuple[Where, str]]:
        stage, *places = self._places(number)
        overrides = [self._override(place) for place in places]
        of_global = self._get(*stage, "global_attn_indexes") or ()
        held = self._held(number, blocks)
        for loc, message in problems_of_overrides(overrides, of_global, blocks, held):
            yield self.tree.find(loc).where, message

    def _override(self, place: Loc) -> Override:
        given = {key: value for key in GIVEN if (value := self._get(*place, key)) is not None}
        windowed = given.get("window_size", 0) not in {0, NO_WINDOW}
        return Override(place, self._get(*place, "blocks"), tuple(given), windowed)

    def _indexes(self, number: int, key: str, blocks: range) -> Iterator[tuple[Where, str]]:
        loc = ("stages", number, key)
        indexes = self._get(*loc)
        seen: set[int] = set()
        for position, index in enumerate(indexes or ()):
            where = self.tree.find((*loc, position)).where
            if index not in blocks:
                yield where, f"{key} names block {index}, but {self._held(number, blocks)}"
            elif index in seen:
                yield where, f"{key} names block {index} twice: keep one"
            seen.add(index)

    def _held(self, number: int, blocks: range) -> str:
        held = f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"only block {blocks[0]}"
        return f"{f'depth {len(blocks)} gives' if self.flat else f'stage {number} holds'} {held}"

    def _at(self, place: Loc, key: str) -> Where:
        return self.tree.find((*place, key)).where


def _divisors(width: int, heads: int) -> str:
    """The divisors of a width that are nearest to a number of heads."""
    low = [count for count in range(1, math.isqrt(width) + 1) if width % count == 0]
    near = sorted({*low, *(width // count for count in low)})
    return " or ".join(map(str, sorted(sorted(near, key=lambda count: abs(count - heads))[:2])))


def problems_of_plan(config: EncoderConfig) -> Iterator[Problem]:
    """What is wrong with a config whose keys are sound by themselves and together, as its families know it."""
    if config.run.trains == "adapters" and not any(BLOCKS[stage.block].adapters for stage in config.stages):
        adapted = " or ".join(word for word, block in BLOCKS.items() if block.adapters)
        yield (
            ("run", "trains"),
            f"run.trains adapters is for blocks of {adapted}: there are none here, use all",
        )
    yield from layout_problems(config)
    for number, stage in enumerate(config.stages):
        yield from BLOCKS[stage.block].problems(config, number)
        yield from shift_problems(config, number)
        if stage.transition != NONE and number:
            yield from TRANSITIONS[stage.transition].problems(config, number)
        elif stage.transition != NONE:
            said = f"transition {stage.transition} leads from one stage into the next: the first has none before it"
            yield ("stages", number, "transition"), said
    for layer in config.layers:
        if problem := unfit_shift(config.run.attention, layer):
            yield ("run", "attention"), problem
    yield from PATCH_EMBEDS[config.patch_embed].problems(config, 0)
    for words, word in ((POS_EMBEDS, config.pos_embed), (NECKS, config.neck)):
        if word != NONE:
            yield from words[word].problems(config, 0)
