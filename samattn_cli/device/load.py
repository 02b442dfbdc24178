"""Loads a `Device` from a YAML file or the name of a shipped device, or reports every problem, each at its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..encoder.tree import Loc, Node
from ..encoder.validate import LocatedMessage, validated
from ..errors import ConfigError, Message, Problem
from ..files.file_kinds import DEVICE
from ..files.sources import Source, read_source
from ..files.yaml12 import parse_yaml
from .model import Device, PeakSources, Sources

PEAKS = "peak_flops"


def load_device(reference: str | Path, where: str = "samattn") -> Device:
    """Load a device.

    Args:
        reference: the name of a device that ships with samattn, or a path to a YAML file.
        where: the place that `reference` comes from, such as an option, for messages.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
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
    if ("sources",) not in broken and (PEAKS,) not in broken:
        yield from _sources(tree, PeakSources, (PEAKS,))
        yield from _without_figure(tree)
    if (PEAKS,) not in broken and ("calibrated",) not in broken:
        yield from _calibrated(tree)
    if not {("memory_bytes",), ("reserved_bytes",)} & broken:
        yield from _reserved(tree)


def _sources(tree: Node, known: type, loc: Loc) -> Iterator[LocatedMessage]:
    """Each figure at `loc` must have a source."""
    figures, sources = _entries(tree, *loc), _entries(tree, "sources", *loc)
    for name in (field.name for field in fields(known)):
        unsourced = name not in sources or not str(sources[name].plain()).strip()
        if name in figures and name != PEAKS and unsourced:
            dotted = ".".join(map(str, (*loc, name)))
            message = f"{dotted} has no source: set sources.{dotted} to where the figure comes from"
            yield _key(figures[name]), Message("missing-source", message)


def _without_figure(tree: Node) -> Iterator[LocatedMessage]:
    """Each source of a peak must have that peak."""
    for unit in _entries(tree, "sources", PEAKS).keys() - _entries(tree, PEAKS).keys():
        source = _entries(tree, "sources", PEAKS)[unit]
        message = f"sources.{PEAKS}.{unit} is the source of a peak that is not given: set {PEAKS}.{unit}, or remove the source"
        yield _key(source), Message("missing-figure", message)


def _calibrated(tree: Node) -> Iterator[LocatedMessage]:
    """Measured shares must be of a unit that the device has."""
    for unit, measured in _entries(tree, "calibrated").items():
        if unit not in _entries(tree, PEAKS):
            message = f"calibrated.{unit} has shares of a peak that is not given: set {PEAKS}.{unit}, or remove the section"
            yield _key(measured), Message("missing-figure", message)


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
