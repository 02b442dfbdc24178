"""The rules between the keys of a config. Each is checked only if the keys that it needs are valid by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING
from itertools import product
from typing import Any

from ..errors import Message
from ..spelling import alike
from ..units import format_things
from .applicable_keys import RUN_READERS, encoder_readers, unused_key, unused_keys
from .block_overrides import KEYS, BlockOverride
from .block_overrides import problems as problems_of_overrides
from .kernels import unfit_heads, unfit_kernel, unfit_positions
from .model import OF_FSDP, SHARDED
from .placement import GLOBAL_VALUES, each_is
from .registry import BLOCKS, NONE, TRANSITIONS
from .torch_versions import DEFAULT, FSDP_REDUCES_AS_SHARDS_SINCE, version_of
from .tree import Loc, Node, Where
from .wording import field_at, short

KEYS_WITH_AXES = {
    "encoder": ("patch_size", "pretrain_image_size"),
    "stage": ("window_size", "shift_size", "num_windows_side", "rel_pos_grid"),
}
"""Keys with a side for each axis of the image."""

WIDENED = ("bfloat16", "float32")
"""The types of gradients and of their reduction, if they differ: torch has a kernel that widens these."""


def is_flat(tree: Node) -> bool:
    """Whether the keys of the one stage are at the top level of the file."""
    stages = tree.step("stages")
    return stages is not None and stages.key_where is None


class Rules:
    """The rules between keys, on the raw tree. A value that is missing or `broken` is read as None."""

    def __init__(self, tree: Node, broken: set[Loc]) -> None:
        self.tree = tree
        self.broken = broken
        self.flat = is_flat(tree)
        self.values: dict[Loc, Any] = {}  # those that a rule has read

    def _get(self, *loc: int | str) -> Any:
        if loc not in self.values:
            self.values[loc] = self._read(loc)
        return self.values[loc]

    def _read(self, loc: Loc) -> Any:
        if loc in self.broken:
            return None
        node = self.tree.at(loc)
        if node is not None:
            return node.plain()
        field = field_at(loc)
        return None if field is None or field.default is MISSING else field.default

    def problems(self) -> Iterator[tuple[Where, Message]]:
        """Each broken rule: its place, and what to do about it."""
        yield from self._image()
        yield from self._axes()
        for chooser in encoder_readers():
            yield from self._unused_keys((), chooser)
        yield from self._run()
        stages = self.tree.step("stages")
        first_block: int | None = 0
        for number in range(len(stages.value) if stages and isinstance(stages.value, list) else 0):
            yield from self._stage(number, first_block)
            depth = self._get("stages", number, "depth")
            first_block = None if first_block is None or depth is None else first_block + depth

    def _image(self) -> Iterator[tuple[Where, Message]]:
        size, patch = self._get("image_size"), self._get("patch_size")
        if size is None or patch is None:
            return
        sides = size if isinstance(size, tuple) else (size,)
        patches = patch if isinstance(patch, tuple) else (patch,) * len(sides)
        if len(patches) == len(sides) and any(
            side < least for side, least in zip(sides, patches, strict=True)
        ):
            where = self.tree.find(("image_size",)).where
            yield (
                where,
                Message(
                    "image-smaller-than-patch",
                    f"image_size {short(size)} is smaller than patch_size {short(patch)}: use at least {short(patch)}",
                ),
            )

    def _axes(self, number: int | None = None) -> Iterator[tuple[Where, Message]]:
        """Sizes of the encoder, or of a stage, that do not have a side for each axis of the image."""
        size = self._get("image_size")
        if size is None:
            return
        image = size if isinstance(size, tuple) else (size, size)
        places: list[Loc] = [()] if number is None else self._places(number)
        for place, key in product(places, KEYS_WITH_AXES["encoder" if number is None else "stage"]):
            sides = self._get(*place, key)
            if isinstance(sides, tuple) and len(sides) != len(image) and self._is_written(place, key):
                message = (
                    f"{key} {short(sides)} has {format_things(len(sides), 'side')}, and image_size {short(image)} has "
                    f"{len(image)}: give as many"
                )
                yield self._at(place, key), Message("axes-differ", message)

    def _stage(self, number: int, first_block: int | None) -> Iterator[tuple[Where, Message]]:
        yield from self._axes(number)
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

    def _heads(self, number: int) -> Iterator[tuple[Where, Message]]:
        width = self._get("stages", number, "embed_dim")
        for place in self._places(number):
            heads = self._get(*place, "num_heads")
            if width and heads and width % heads:
                use = _divisors(width, heads)
                yield (
                    self._at(place, "num_heads"),
                    Message(
                        "not-divisible",
                        f"num_heads {heads} does not divide embed_dim {width}: use {use}",
                    ),
                )

    def _kernel(self, number: int) -> Iterator[tuple[Where, Message]]:
        """The limits of the attention kernel."""
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

    def _run(self) -> Iterator[tuple[Where, Message]]:
        wrong = [chooser for chooser in RUN_READERS if ("run", chooser) in self.broken]
        unsure = {key for chooser in wrong for keys in RUN_READERS[chooser].values() for key in keys}
        seen = [
            self._at(("run",), key) for key in unsure
        ]  # whether they are used depends on a word that is wrong
        for chooser in RUN_READERS:
            for where, message in self._unused_keys(("run",), chooser):
                if where not in seen:  # a key that depends on another, which the mode does not use either
                    seen.append(where)
                    yield where, message
        yield from self._autocast()
        yield from self._grad_scaler()
        yield from self._gpus()

    def _autocast(self) -> Iterator[tuple[Where, Message]]:
        autocast, dtype = self._get("run", "autocast"), self._get("run", "dtype")
        if autocast not in {None, "none"} and dtype not in {None, "float32"}:
            yield (
                self.tree.find(("run", "autocast")).where,
                Message(
                    "autocast-needs-float32",
                    f"run.autocast {autocast} needs weights in float32, not {dtype}: remove run.autocast or run.dtype",
                ),
            )

    def _grad_scaler(self) -> Iterator[tuple[Where, Message]]:
        trains = self._get("run", "mode") == "training"
        if trains and self._get("run", "grad_scaler") is True and self._get("run", "autocast") == "none":
            yield (
                self.tree.find(("run", "grad_scaler")).where,
                Message(
                    "grad-scaler-without-autocast",
                    "run.grad_scaler scales gradients for autocast, and run.autocast is none: set run.autocast=float16, or "
                    "remove run.grad_scaler",
                ),
            )

    def _gpus(self) -> Iterator[tuple[Where, Message]]:
        """What is sharded needs a number of GPUs, and what is resharded a divisor of it."""
        parallel, gpus = self._get("run", "parallel"), self._get("run", "gpus")
        if self._get("run", "mode") != "training" or parallel not in SHARDED or gpus is None:
            return
        if not self._is_written(("run",), "gpus"):
            text = (
                f"run.parallel {parallel} shares its state out among GPUs: set run.gpus, such as run.gpus=8"
            )
            yield self.tree.find(("run", "parallel")).where, Message("missing-key", text)
        number = self._get("run", "reshard_after_forward")
        if parallel == "fsdp2" and number is not None and not isinstance(number, bool) and gpus % number:
            text = f"run.reshard_after_forward {number} does not divide run.gpus {gpus}: use {_divisors(gpus, number)}"
            where = self.tree.find(("run", "reshard_after_forward")).where
            yield where, Message("not-divisible", text)
        if parallel in OF_FSDP:
            yield from self._not_with_fsdp(parallel)

    def _not_with_fsdp(self, parallel: str) -> Iterator[tuple[Where, Message]]:
        """What is not derived for FSDP2."""
        autocast = self._get("run", "autocast")
        if autocast not in {None, "none"} and self._get("run", "param_dtype") not in {None, "none"}:
            text = f"run.autocast with run.param_dtype, in run.parallel {parallel}, is not derived yet: set one of them"
            yield self.tree.find(("run", "autocast")).where, Message("not-derived-yet", text)
        own, gathered, asked = (self._get("run", key) for key in ("dtype", "param_dtype", "reduce_dtype"))
        computed = own if gathered == "none" else gathered
        torch = version_of(str(self._get("run", "torch"))) or DEFAULT
        by_default = own if torch >= FSDP_REDUCES_AS_SHARDS_SINCE else computed
        reduced = by_default if asked == "none" else asked
        if None in {computed, reduced} or reduced == computed or (computed, reduced) == WIDENED:
            return
        text = (
            f"gradients in {computed} that FSDP2 reduces in {reduced} (run.reduce_dtype {asked}) are not derived yet: "
            f"set run.reduce_dtype {computed}"
        )
        place = "param_dtype" if asked == "none" else "reduce_dtype"
        yield self.tree.find(("run", place)).where, Message("not-derived-yet", text)

    def _mlp(self, number: int) -> Iterator[tuple[Where, Message]]:
        width = self._get("stages", number, "embed_dim")
        for place in self._places(number):
            ratio = self._get(*place, "mlp_ratio")
            if width is not None and ratio is not None and int(width * ratio) < 1:
                yield (
                    self._at(place, "mlp_ratio"),
                    Message(
                        "no-channels-left",
                        f"mlp_ratio {ratio} gives the MLP no hidden channels at embed_dim {width}: use a larger ratio",
                    ),
                )

    def _window(self, number: int) -> Iterator[tuple[Where, Message]]:
        for place in self._places(number):
            window = self._get(*place, "window_size")
            if isinstance(window, tuple) and 0 < window.count(0) < len(window):
                yield (
                    self._at(place, "window_size"),
                    Message(
                        "window-side-zero",
                        f"window_size {short(window)} has a side of 0: use sides above 0, or 0 for global attention",
                    ),
                )
            if all(self._is_written(place, key) for key in GLOBAL_VALUES):
                message = f"{' and '.join(GLOBAL_VALUES)} both set the windows: keep one of the two"
                yield self._at(place, "num_windows_side"), Message("conflicting-keys", message)

    def _keys(self, number: int) -> Iterator[tuple[Where, Message]]:
        """The keys that a kind of block uses, and the values that it takes."""
        place, *overrides = self._places(number)
        for each in (place, *overrides):
            yield from self._unused_keys(each, "block", place)
        block, rel_pos = self._get(*place, "block"), self._get(*place, "rel_pos")
        if None in {block, rel_pos} or "rel_pos" not in BLOCKS[block].keys:
            return
        if rel_pos not in (allowed := BLOCKS[block].rel_pos):
            yield (
                self._at(place, "rel_pos"),
                Message(
                    "rel-pos-not-supported",
                    f"rel_pos of {block} blocks must be {' or '.join(allowed)}, not {rel_pos}",
                ),
            )

    def _unused_keys(
        self, place: Loc, chooser: str, of: Loc | None = None
    ) -> Iterator[tuple[Where, Message]]:
        """The keys of a place that are set although the word for `chooser`, there or in the place `of`, does not use them."""
        chosen_in = place if of is None else of
        word = self._get(*chosen_in, chooser)
        if word is None or self._is_misspelt(chosen_in, chooser):
            return
        entries = self.tree.find(place)
        for key in unused_keys(chooser, word):
            node = entries.step(key)
            if node is not None and node.value is not None and (*place, key) not in self.broken:
                yield self._at(place, key), unused_key(chooser, word, key)

    def _is_misspelt(self, place: Loc, key: str) -> bool:
        """Whether a place has an unknown key that may mean this one, whose value is not known then."""
        written = self.tree.find(place).value
        unknown = (
            [each for each in written if (*place, each) in self.broken] if isinstance(written, dict) else []
        )
        return any(alike(each, [key]) for each in unknown)

    def _is_written(self, place: Loc, key: str) -> bool:
        """Whether a key has a value; null is the same as leaving it out."""
        node = self.tree.find(place).step(key)
        return node is not None and node.value is not None

    def _width(self, number: int) -> Iterator[tuple[Where, Message]]:
        if not number:
            return
        before, width = (self._get("stages", at, "embed_dim") for at in (number - 1, number))
        transition, block = (self._get("stages", number, key) for key in ("transition", "block"))
        if None in {before, width, transition, block} or before == width or transition != NONE:
            return
        if not BLOCKS[block].changes_width:
            layout = BLOCKS[block].layout
            leading = (word for word, part in TRANSITIONS.items() if part.made == layout)
            yield (
                self._at(("stages", number), "embed_dim"),
                Message(
                    "width-changes",
                    f"stages.{number}.embed_dim is {width}, but stage {number - 1} outputs {before} channels, and {block} "
                    f"blocks cannot change the width: use {before}, or a transition ({', '.join(leading)})",
                ),
            )

    def _overrides(self, number: int, blocks: range) -> Iterator[tuple[Where, Message]]:
        stage, *places = self._places(number)
        overrides = [self._override(place) for place in places]
        global_indexes = self._get(*stage, "global_attn_indexes") or ()
        stage_has = self._stage_has(number, blocks)
        for loc, message in problems_of_overrides(overrides, global_indexes, blocks, stage_has):
            yield self.tree.find(loc).where, message

    def _override(self, place: Loc) -> BlockOverride:
        values = {key: value for key in KEYS if (value := self._get(*place, key)) is not None}
        windowed = any(
            not each_is(says, as_sides(values.get(key, says))) for key, says in GLOBAL_VALUES.items()
        )
        return BlockOverride(place, self._get(*place, "blocks"), tuple(values), windowed)

    def _indexes(self, number: int, key: str, blocks: range) -> Iterator[tuple[Where, Message]]:
        loc = ("stages", number, key)
        indexes = self._get(*loc)
        seen: set[int] = set()
        for position, index in enumerate(indexes or ()):
            where = self.tree.find((*loc, position)).where
            if index not in blocks:
                stage_has = self._stage_has(number, blocks)
                yield where, Message("no-such-block", f"{key} names block {index}, but {stage_has}")
            elif index in seen:
                yield where, Message("duplicate-block", f"{key} names block {index} twice: keep one")
            seen.add(index)

    def _stage_has(self, number: int, blocks: range) -> str:
        """The blocks of a stage, as a sentence."""
        which = f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"only block {blocks[0]}"
        return f"{f'the encoder (depth {len(blocks)})' if self.flat else f'stage {number}'} has {which}"

    def _at(self, place: Loc, key: str) -> Where:
        return self.tree.find((*place, key)).where


def as_sides(value: Any) -> tuple[Any, ...]:
    """The sides that a value has, or the number that it is."""
    return value if isinstance(value, tuple) else (value,)


def _divisors(width: int, heads: int) -> str:
    """The divisors of a width that are nearest to a number of heads."""
    low = [count for count in range(1, math.isqrt(width) + 1) if width % count == 0]
    near = sorted({*low, *(width // count for count in low)})
    return " or ".join(map(str, sorted(sorted(near, key=lambda count: abs(count - heads))[:2])))
