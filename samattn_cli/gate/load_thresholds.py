"""Reads thresholds files. Every problem in a file is reported at once, with its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..device.load import device_of
from ..device.model import Device
from ..encoder.tree import Node, Where
from ..encoder.validate import validated
from ..errors import ConfigError, Message, Problem, code_of
from ..files.file_kinds import DEVICE, THRESHOLDS
from ..files.load import Override
from ..files.sources import DISK, STDIN, Files, Source, read_source
from ..files.yaml12 import parse_yaml
from ..metric_names import PEAK_OF_MODE
from ..records import dataclass
from ..shell import command
from .threshold_rules import problems
from .thresholds import Profile, Thresholds
from .within import files_around

FILE = "samattn.yaml"
OF_ENCODER = frozenset({"image_size"})
ADVICE = "name the thresholds file with --thresholds"


@dataclass(frozen=True)
class ThresholdsFile:
    """A thresholds file with the places of its keys. Its paths start from `folder`, in `files`."""

    thresholds: Thresholds
    tree: Node
    label: str
    folder: Path
    files: Files = DISK

    def where(self, *loc: str | int) -> Where:
        """The place of a key or item; if it is not in the file, of the nearest one around it."""
        node = self.tree.find(loc)
        return node.key_where or node.where

    def profile(self, name: str) -> Profile:
        """A profile by its name; one that changes nothing for ""."""
        return (self.thresholds.profiles or {})[name] if name else Profile()

    def overrides(self, profile: str) -> list[Override]:
        """The overrides of configs that a profile sets; none for ""."""
        return list(_overrides(self.tree.find(("profiles", profile)))) if profile else []

    def device(self, profile: str, files: Files | None = None) -> Device | None:
        """The device of a profile, if it has one. Its file is read from `files`, by default from those of this file.

        Raises:
            ConfigError: if there is no such device, or its file is wrong.
        """
        reference = self.profile(profile).device
        where = self.tree.find(("profiles", profile, "device")).where
        return read_device(reference, self.folder, where, files or self.files) if reference else None


def load_thresholds(reference: str | Path | None = None) -> ThresholdsFile:
    """Load a thresholds file. Nothing outside its repository is read: see `within`.

    Args:
        reference: its path; by default ``samattn.yaml`` in the working directory or the nearest parent directory.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    path = find_thresholds(Path()) if reference is None else Path(reference)
    if str(path) != STDIN and not path.is_file():
        message = (
            Message("is-a-directory", f"is a directory: {ADVICE}")
            if path.is_dir()
            else Message("file-not-found", f"no such file: {ADVICE}")
        )
        raise ConfigError([Problem(os.path.normpath(path), message)])
    return thresholds_of(
        read_source(str(path), Path(), "samattn", THRESHOLDS, files=files_around(path.parent))
    )


def find_thresholds(start: Path) -> Path:
    """``samattn.yaml`` in a directory or the nearest parent directory, as a path from the working directory.

    Raises:
        ConfigError: if there is none.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return Path(os.path.relpath(folder / FILE))
    text = f"no {FILE} in {here} or any parent directory: {ADVICE}, or write one with {command('init')}"
    raise ConfigError([Problem(FILE, Message("no-thresholds", text))])


def thresholds_of(source: Source, *, located: bool = True) -> ThresholdsFile:
    """The thresholds of a source; not `located` if it is no file, so that its lines mean nothing.

    Raises:
        ConfigError: with every problem found, each with file:line:column.
    """
    tree = parse_yaml(source.text, source.label, located=located, kind=THRESHOLDS)
    if not isinstance(tree.value, dict):
        message = Message(code_of(THRESHOLDS.must_be) or "not-a-mapping", THRESHOLDS.must_be)
        raise ConfigError([Problem(str(tree.where), message)])
    thresholds = validated(Thresholds, tree, None, problems)
    file = ThresholdsFile(thresholds, tree, source.label, source.folder, source.files)
    _check_devices(file)
    return file


def of_memory(memory: str, configs: Sequence[str]) -> ThresholdsFile:
    """Thresholds with one rule: the peak of each config's run is at most `memory`, such as "24GiB"."""
    rule = {"id": "memory", "metric": PEAK_OF_MODE, "limit": memory}
    text = json.dumps({"version": 1, "configs": list(configs), "rules": [rule]})
    source = Source(text, f"--memory {memory}", "memory", Path(), files_around(Path()))
    return thresholds_of(source, located=False)


def _check_devices(file: ThresholdsFile) -> None:
    """See that the device of every profile exists.

    Raises:
        ConfigError: with every problem.
    """
    profiles = file.thresholds.profiles or {}
    if unknown := [problem for profile in profiles for problem in _device_problems(file, profile)]:
        raise ConfigError(unknown)


def _device_problems(file: ThresholdsFile, profile: str) -> tuple[Problem, ...]:
    try:
        file.device(profile)
    except ConfigError as error:
        return error.problems
    return ()


def read_device(reference: str, folder: Path, where: Where, files: Files) -> Device:
    """A device that ships with samattn, or the device in a YAML file.

    Raises:
        ConfigError: at `where`, or in the file.
    """
    return device_of(read_source(reference, folder, str(where), DEVICE, files))


def _overrides(profile: Node) -> Iterator[Override]:
    """The overrides that the keys of a profile mean, each with its place."""
    for name, node in _entries(profile):
        if name == "set":
            yield from (Override(key, value, str(value.where)) for key, value in _entries(node))
        elif name != "device" and node.value is not None:
            yield Override(name if name in OF_ENCODER else f"run.{name}", node, str(node.where))


def _entries(node: Node) -> list[tuple[str, Node]]:
    return list(node.value.items()) if isinstance(node.value, dict) else []
