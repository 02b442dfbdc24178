"""The rules between the keys of a config, each checked only where the keys it needs are sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from .kernels import unfit_heads, unfit_positions
from .wording import field_at, short
from .yaml12 import Loc, Node, Where


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
        node = self.tree.find(loc[:-1]).step(loc[-1])
        if node is not None:
            return node.plain()
        field = field_at(loc)
        return None if field is None or field.default is MISSING else field.default

    def problems(self) -> Iterator[tuple[Where, str]]:
        """Each broken rule: where, and what to do about it."""
        yield from self._image()
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
        yield from self._heads(number)
        yield from self._kernel(number)
        yield from self._mlp(number)
        yield from self._window(number)
        yield from self._width(number)
        depth = self._get("stages", number, "depth")
        if first_block is not None and depth is not None:
            yield from self._indexes(number, range(first_block, first_block + depth))

    def _heads(self, number: int) -> Iterator[tuple[Where, str]]:
        width, heads = self._get("stages", number, "embed_dim"), self._get("stages", number, "num_heads")
        if width is None or heads is None or width % heads == 0:
            return
        low = [count for count in range(1, math.isqrt(width) + 1) if width % count == 0]
        near = sorted({*low, *(width // count for count in low)})
        best = sorted(sorted(near, key=lambda count: abs(count - heads))[:2])
        choices = " or ".join(map(str, best))
        yield (
            self._at(number, "num_heads"),
            f"num_heads {heads} does not divide embed_dim {width}: use {choices}",
        )

    def _kernel(self, number: int) -> Iterator[tuple[Where, str]]:
        """What the attention kernels take."""
        kernel, dtype, autocast = (self._get("run", key) for key in ("attention", "dtype", "autocast"))
        width, heads, rel_pos = (
            self._get("stages", number, key) for key in ("embed_dim", "num_heads", "rel_pos")
        )
        where = self.tree.find(("run", "attention")).where
        if kernel and rel_pos and (problem := unfit_positions(kernel, rel_pos)):
            yield where, problem
        if None in {kernel, dtype, autocast, width, heads} or width % heads:
            return
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
        width, ratio = self._get("stages", number, "embed_dim"), self._get("stages", number, "mlp_ratio")
        if width is not None and ratio is not None and int(width * ratio) < 1:
            yield (
                self._at(number, "mlp_ratio"),
                f"mlp_ratio {ratio} leaves the MLP of width {width} no hidden channel",
            )

    def _window(self, number: int) -> Iterator[tuple[Where, str]]:
        window = self._get("stages", number, "window_size")
        if isinstance(window, tuple) and window.count(0) == 1:
            yield (
                self._at(number, "window_size"),
                f"window_size {short(window)} has one side 0: use two sides above 0, or 0 for global attention",
            )

    def _width(self, number: int) -> Iterator[tuple[Where, str]]:
        first, width = self._get("stages", 0, "embed_dim"), self._get("stages", number, "embed_dim")
        if first is not None and width is not None and first != width:
            yield (
                self._at(number, "embed_dim"),
                f"stages.{number}.embed_dim is {width} but stages.0.embed_dim is {first}: plain blocks keep one width",
            )

    def _indexes(self, number: int, blocks: range) -> Iterator[tuple[Where, str]]:
        loc = ("stages", number, "global_attn_indexes")
        indexes = self._get(*loc)
        seen: set[int] = set()
        for position, index in enumerate(indexes or ()):
            where = self.tree.find((*loc, position)).where
            if index not in blocks:
                held = f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"only block {blocks[0]}"
                holder = f"depth {len(blocks)} gives" if self.flat else f"stage {number} holds"
                yield where, f"global_attn_indexes names block {index}, but {holder} {held}"
            elif index in seen:
                yield where, f"global_attn_indexes names block {index} twice: keep one"
            seen.add(index)

    def _at(self, number: int, key: str) -> Where:
        return self.tree.find(("stages", number, key)).where
