"""Replaces the shorthand values of a tree by what they mean, such as "fp16" by "float16" (see `shorthand`)."""

from __future__ import annotations

from ..records import replace
from .keys import reader_of
from .tree import Loc, Node
from .wording import field_at


def normalized(node: Node, loc: Loc = ()) -> Node:
    """The node at `loc` of an encoder config with all shorthand values replaced; the places of values do not change."""
    if isinstance(node.value, dict):
        return replace(node, value={key: normalized(inner, (*loc, key)) for key, inner in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[normalized(inner, (*loc, at)) for at, inner in enumerate(node.value)])
    return _scalar(node, loc) if isinstance(node.value, str | int) and loc else node


SIZES = ("window_size", "shift_size", "num_windows_side")
"""Keys of a stage whose number stands for as many sides as the image has."""


def by_axis(tree: Node) -> Node:
    """The tree of a video or a volume with a side for each axis where a stage has one number for all of them."""
    image = tree.step("image_size")
    return _by_axis(tree, len(image.value)) if image and isinstance(image.value, list) else tree


def _by_axis(node: Node, axes: int, key: str = "") -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={name: _by_axis(inner, axes, name) for name, inner in node.value.items()})
    if isinstance(node.value, list) and key not in SIZES:
        return replace(node, value=[_by_axis(inner, axes) for inner in node.value])
    is_one = key in SIZES and type(node.value) is int and axes > 2  # noqa: PLR2004 - more than a height and a width
    return replace(node, value=[Node(node.value, node.where)] * axes) if is_one else node


def _scalar(node: Node, loc: Loc) -> Node:
    field = field_at(loc) or field_at(("stages", *loc))  # the keys of a single stage may be at the top level
    reads = reader_of(field) if field is not None and isinstance(loc[-1], str) else None
    value = node.value if reads is None else reads(node.value)
    if isinstance(value, tuple):
        return replace(node, value=[Node(item, node.where) for item in value])
    return replace(node, value=value)
