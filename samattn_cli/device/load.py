"""Loads a `Device` from a YAML file or the name of a shipped device, or reports every problem, each at its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..encoder.tree import Loc, Node
from ..encoder.validate import LocatedMessage, validated
from ..encoder.wording import cut
from ..errors import ConfigError, Message, Problem
from ..files.file_kinds import DEVICE
from ..files.sources import Source, read_source
from ..files.yaml12 import parse_yaml
from .model import Device, Interconnect, InterconnectSources, PeakSources, Sources

PEAKS = "peak_flops"
GROUPS: dict[str, tuple[type, str]] = {
    PEAKS: (PeakSources, "peak"),
    "interconnect": (InterconnectSources, "figure"),
}
"""The sections with figures of their own: the class of their sources, and what a figure is called."""


def load_device(reference: str | Path, where: str = "samattn") -> Device:
    """Load a device.

    Args:
        reference: the name of a device that ships with samattn, or a path to a YAML file.
        where: the place that `reference` comes from, such as an option, for messages.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
        TypeError: for a reference of another type.
    """
    if not isinstance(reference, str | Path):
        raise TypeError(f"load_device takes a name or a path, not {cut(repr(reference))}")
    return device_of(device_source(reference, where))


def device_source(reference: str | Path, where: str = "samattn") -> Source:
    """The text of a device's file, for `device_of`; with the arguments and errors of `load_device`."""
    return read_source(str(reference), Path(), where, DEVICE)


def device_of(source: Source) -> Device:
    """The device that a file's text describes.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    tree = parse_yaml(source.text, source.label, kind=DEVICE)
    if not isinstance(tree.value, dict):
        raise ConfigError([Problem(str(tree.where), DEVICE.must_be)])
    return validated(Device, tree, source.name, _between_keys)


def _between_keys(tree: Node, broken: set[Loc]) -> Iterator[LocatedMessage]:
    """The rules between the keys of a device file. Each is checked only if the keys that it needs are valid."""
    if ("sources",) not in broken:
        yield from _sources(tree, Sources, ())
    for group, (known, _) in GROUPS.items():
        if ("sources",) not in broken and (group,) not in broken:
            yield from _sources(tree, known, (group,))
            yield from _without_figure(tree, group)
    if (PEAKS,) not in broken and ("calibrated",) not in broken:
        yield from _calibrated(tree)
    if ("interconnect",) not in broken:
        yield from _linked(tree)
    if not {("memory_bytes",), ("reserved_bytes",)} & broken:
        yield from _reserved(tree)


def _sources(tree: Node, known: type, loc: Loc) -> Iterator[LocatedMessage]:
    """Each figure at `loc` must have a source."""
    figures, sources = _entries(tree, *loc), _entries(tree, "sources", *loc)
    for name in (field.name for field in fields(known)):
        unsourced = name not in sources or not str(sources[name].plain()).strip()
        if name in figures and name not in GROUPS and unsourced:
            dotted = ".".join(map(str, (*loc, name)))
            message = f"{dotted} has no source: set sources.{dotted} to where the figure comes from"
            yield _key(figures[name]), Message("missing-source", message)


def _without_figure(tree: Node, group: str) -> Iterator[LocatedMessage]:
    """Each source of a figure in a section must have that figure."""
    for name in _entries(tree, "sources", group).keys() - _entries(tree, group).keys():
        source = _entries(tree, "sources", group)[name]
        what = GROUPS[group][1]
        message = f"sources.{group}.{name} is the source of a {what} that is not given: set {group}.{name}, or remove the source"
        yield _key(source), Message("missing-figure", message)


def _calibrated(tree: Node) -> Iterator[LocatedMessage]:
    """Measured shares must be of a unit that the device has."""
    for unit, measured in _entries(tree, "calibrated").items():
        if unit not in _entries(tree, PEAKS):
            message = f"calibrated.{unit} has shares of a peak that is not given: set {PEAKS}.{unit}, or remove the section"
            yield _key(measured), Message("missing-figure", message)


def _linked(tree: Node) -> Iterator[LocatedMessage]:
    """NVLink connects GPUs of a node."""
    links = _entries(tree, "interconnect")
    linked = links.get("nvlink_gpus")
    node = links["gpus_per_node"].plain() if "gpus_per_node" in links else Interconnect().gpus_per_node
    if linked is None or linked.plain() is None:
        return
    if "nvlink_bytes_per_s" not in links:
        message = (
            "interconnect.nvlink_gpus has no bandwidth: set interconnect.nvlink_bytes_per_s, or remove it"
        )
        yield _key(linked), Message("missing-figure", message)
    if linked.plain() > node:
        message = f"interconnect.nvlink_gpus {linked.plain()} must be at most gpus_per_node {node}"
        yield linked.where, Message("out-of-range", message)


def _reserved(tree: Node) -> Iterator[LocatedMessage]:
    """Some memory must be left."""
    memory, reserved = tree.find(("memory_bytes",)), tree.find(("reserved_bytes",))
    if reserved.plain() >= memory.plain():
        message = f"reserved_bytes {reserved.value} must be less than memory_bytes {memory.value}"
        yield reserved.where, Message("no-memory-left", message)


def _entries(tree: Node, *loc: Any) -> dict[str, Node]:
    """The keys of the mapping at `loc`; {} if there is none."""
    node: Node | None = tree
    for part in loc:
        node = None if node is None else node.step(part)
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _key(node: Node) -> Any:
    return node.key_where or node.where
