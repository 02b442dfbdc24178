"""Thresholds files to `Thresholds`, or to every problem there is, each at its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..device.load import device_of
from ..device.model import Device
from ..encoder.tree import Node, Where
from ..encoder.validate import validated
from ..errors import ConfigError, Problem
from ..files.file_kinds import DEVICE, THRESHOLDS
from ..files.load import Override
from ..files.sources import DISK, STDIN, Files, Source, read_source
from ..files.yaml12 import parse_yaml
from ..shell import command
from .threshold_rules import problems
from .thresholds import Profile, Thresholds
from .within import files_around

FILE = "samattn.yaml"
OF_ENCODER = frozenset({"image_size"})
ADVICE = "name one with --thresholds"


@dataclass(frozen=True)
class ThresholdsFile:
    """A thresholds file as it was read, and where all of it stands; its paths start from `folder`, in `files`."""

    thresholds: Thresholds
    tree: Node
    label: str
    folder: Path
    files: Files = DISK

    def where(self, *loc: str | int) -> Where:
        """Where something stands, or what is nearest around it."""
        node = self.tree.find(loc)
        return node.key_where or node.where

    def profile(self, name: str) -> Profile:
        """A profile; one that lays nothing over a config for "", which is none."""
        return (self.thresholds.profiles or {})[name] if name else Profile()

    def overrides(self, profile: str) -> list[Override]:
        """What a profile lays over a config; "" is none."""
        return list(_overrides(self.tree.find(("profiles", profile)))) if profile else []

    def device(self, profile: str, files: Files | None = None) -> Device | None:
        """The device of a profile, if it has one; its file as it is in `files`, by default in those of this file.

        Raises:
            ConfigError: if there is no such device, or its file is wrong.
        """
        reference = self.profile(profile).device
        where = self.tree.find(("profiles", profile, "device")).where
        return read_device(reference, self.folder, where, files or self.files) if reference else None


def load_thresholds(reference: str | Path | None = None) -> ThresholdsFile:
    """Load a thresholds file. Nothing outside of the repository that it is in is read for it: see `config.within`.

    Args:
        reference: its path; left out, ``samattn.yaml`` in the working directory or the nearest folder around it.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    path = find_thresholds(Path()) if reference is None else Path(reference)
    if str(path) != STDIN and not path.is_file():
        what = "is a directory" if path.is_dir() else "there is no such file"
        raise ConfigError([Problem(os.path.normpath(path), f"{what}: {ADVICE}")])
    return thresholds_of(
        read_source(str(path), Path(), "samattn", THRESHOLDS, files=files_around(path.parent))
    )


def find_thresholds(start: Path) -> Path:
    """``samattn.yaml`` in a folder or the nearest one around it, as a path from the working directory.

    Raises:
        ConfigError: if there is none.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return Path(os.path.relpath(folder / FILE))
    advice = f"{ADVICE}, or write one: {command('init')}"
    raise ConfigError([Problem(FILE, f"there is none in {here}, nor in a folder around it: {advice}")])


def thresholds_of(source: Source) -> ThresholdsFile:
    """The thresholds that a file's text has.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    tree = parse_yaml(source.text, source.label, kind=THRESHOLDS)
    if not isinstance(tree.value, dict):
        raise ConfigError([Problem(str(tree.where), THRESHOLDS.must_be)])
    thresholds = validated(Thresholds, tree, None, problems)
    file = ThresholdsFile(thresholds, tree, source.label, source.folder, source.files)
    _check_devices(file)
    return file


def _check_devices(file: ThresholdsFile) -> None:
    """Every profile's device is one."""
    found = [
        problem for profile in file.thresholds.profiles or {} for problem in _without_device(file, profile)
    ]
    if found:
        raise ConfigError(found)


def _without_device(file: ThresholdsFile, profile: str) -> tuple[Problem, ...]:
    try:
        file.device(profile)
    except ConfigError as error:
        return error.problems
    return ()


def read_device(reference: str, folder: Path, where: Where, files: Files) -> Device:
    """A device that ships with samattn, or that of a YAML file.

    Raises:
        ConfigError: at `where`, or in the file.
    """
    return device_of(read_source(reference, folder, str(where), DEVICE, files))


def _overrides(profile: Node) -> Iterator[Override]:
    """What the keys of a profile lay over a config, each with its place."""
    for name, node in _entries(profile):
        if name == "set":
            yield from (Override(key, value, str(value.where)) for key, value in _entries(node))
        elif name != "device" and node.value is not None:
            yield Override(name if name in OF_ENCODER else f"run.{name}", node, str(node.where))


def _entries(node: Node) -> list[tuple[str, Node]]:
    return list(node.value.items()) if isinstance(node.value, dict) else []
