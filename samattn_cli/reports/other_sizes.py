"""The answer to: which other image sizes do these weights take?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..encoder.keys import Size
from ..patterns import pattern
from ..records import dataclass
from ..units import format_size, ranges

NUMBERED = pattern(r"blocks\.(\d+)\.(.*)")
"""A weight of a block: its number, and the name within the block."""


@dataclass(frozen=True)
class OtherSize:
    """An image size (height, width), the parameters that the encoder has at it, and by how many these are more.

    `resized` are the names of the weights that have another shape at it.
    """

    image_size: Size
    params: int
    params_change: int
    resized: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherSizes:
    """Which other image sizes the weights of an encoder take.

    `resized` are the names of the weights that have another shape at larger sizes, and so must be resized; all other weights
    fit these. `without_padding` are the nearest smaller and larger sizes at which windows have no padding, and images are whole
    patches. `has_padding` is whether it has padding at its own size, `image_size`. `notes` are sentences on what else its
    parts need.
    """

    image_size: Size

    resized: tuple[str, ...]
    without_padding: tuple[OtherSize, ...]
    has_padding: bool
    notes: tuple[str, ...] = ()


def in_words(sizes: OtherSizes) -> Iterator[str]:
    """The answer in sentences."""
    if sizes.resized:
        yield f"At another image size these weights must be resized: {listed(sizes.resized)}."
    else:
        which = (
            "larger images" if any(size.resized for size in sizes.without_padding) else "other image sizes"
        )
        yield f"All weights fit {which} as they are."
    own = f"{format_size(sizes.image_size)} has padding; the" if sizes.has_padding else "The"
    if nearest := [_in_words(size, sizes.resized) for size in sizes.without_padding]:
        what, are = ("size", "is") if len(nearest) == 1 else ("sizes", "are")
        yield f"{own} nearest other {what} without padding {are} {' and '.join(nearest)}."
    yield from sizes.notes


def _in_words(size: OtherSize, resized: tuple[str, ...]) -> str:
    """A size with what changes at it, if that is not what changes at every size."""
    change = f"{abs(size.params_change):,} parameters {'more' if size.params_change > 0 else 'fewer'}"
    others = size.resized and size.resized != resized
    said = [f"{listed(size.resized)} must be resized"] if others else []
    said += [change] if size.params_change else []
    return f"{format_size(size.image_size)} ({', '.join(said)})" if said else format_size(size.image_size)


def listed(names: tuple[str, ...]) -> str:
    """Names of weights as a person lists them: "pos_embed; attn.rel_pos_h and attn.rel_pos_w of blocks 2, 5, 8"."""
    found: dict[str, list[int]] = {}
    for name in names:
        match = NUMBERED.fullmatch(name)
        found.setdefault(match[2] if match else name, []).extend([int(match[1])] if match else [])
    return "; ".join(
        " and ".join(name for name, _ in group) + (f" of blocks {ranges(blocks)}" if blocks else "")
        for blocks, group in groupby(found.items(), key=lambda item: item[1])
    )
