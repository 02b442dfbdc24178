"""Shell completion: presets, devices, values of keys, metrics, keys of --set. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path

Completer = Callable[[str], list[str]]
YAML = (".yaml", ".yml")
PYTHON = (".py",)
SKIPPED = "."
"""The first character of hidden files."""


def configs(incomplete: str) -> list[str]:
    """Presets, and YAML files and folders."""
    from ..encoder.presets import presets

    return [*_beginning(presets(), incomplete), *_files(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Devices, and YAML files and folders."""
    from ..encoder.presets import devices as known

    return [*_beginning(known(), incomplete), *_files(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Presets only."""
    from ..encoder.presets import presets as known

    return _beginning(known(), incomplete)


def shipped_devices(incomplete: str) -> list[str]:
    """Devices that ship with samattn, without files."""
    from ..encoder.presets import devices as known

    return _beginning(known(), incomplete)


def families(incomplete: str) -> list[str]:
    """Python files and folders."""
    return list(_files(incomplete, PYTHON))


def known_devices() -> Iterable[str]:
    """Devices that ship with samattn."""
    from ..encoder.presets import devices as known

    return known()


def topics(incomplete: str) -> list[str]:
    """Topics of the guide."""
    from ..guide import PAGES

    return _beginning(PAGES, incomplete)


def words_of(key: str, *, several: bool = False) -> Completer:
    """The values of a key; `several`, separated by commas."""
    return words(lambda: _words(key), several=several)


def words(known: Callable[[], Iterable[str]], *, several: bool = False) -> Completer:
    """The words of `known()`; `several`, separated by commas, each once."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        earlier = before.split(",")
        return [f"{before}{comma}{word}" for word in _beginning(known(), last) if word not in earlier]

    return complete


def settings(incomplete: str) -> list[str]:
    """KEY= of --set, then the values of the key."""
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={word}" for word in _beginning(_words(key), value)]
    return _beginning((f"{name}=" for name in _keys()), incomplete)


def sweep_metrics() -> Iterable[str]:
    """The metrics of a sweep."""
    from ..figures import OF_ENCODER

    return OF_ENCODER


def explained_metrics() -> Iterable[str]:
    """The metrics that have a formula."""
    from ..figures import EXPLAINED

    return EXPLAINED


def all_metrics() -> Iterable[str]:
    """Every metric, by each of its names."""
    from ..figures import ALIASES, FIGURES

    return (*FIGURES, *ALIASES)


def limited_metrics() -> Iterable[str]:
    """The metrics that a threshold may limit."""
    from ..metric_names import ENCODER

    return ENCODER


def costs() -> Iterable[str]:
    """The costs that a search of placements may compare."""
    from ..figures import OF_ENCODER

    return OF_ENCODER


def placements() -> Iterable[str]:
    """The strategies of placing global layers."""
    from ..studies.placements.strategies import KNOWN

    return KNOWN


def _beginning(known: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in known if name.lower().startswith(incomplete.lower())]


def _files(incomplete: str, suffixes: tuple[str, ...] = YAML) -> Iterator[str]:
    """Folders, and files with some suffixes, whose path begins with `incomplete`."""
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    shown = incomplete[: incomplete.rfind("/") + 1]
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError):  # there is no such folder, or we may not read it
        return
    for path in paths:
        name = f"{shown}{path.name}{'/' if path.is_dir() else ''}"
        wanted = path.is_dir() or path.suffix in suffixes
        if wanted and name.startswith(incomplete) and not path.name.startswith(SKIPPED):
            yield name


def _keys() -> Iterator[str]:
    """The keys of a config, dotted, as --set takes them."""
    from ..encoder.model import EncoderConfig, RunConfig, StageConfig

    nested = {"stages", "run", "overrides"}
    for config, prefix in ((EncoderConfig, ""), (StageConfig, ""), (RunConfig, "run.")):
        yield from (f"{prefix}{entry.name}" for entry in fields(config) if entry.name not in nested)


def _words(key: str) -> list[str]:
    """The values of a key."""
    from ..encoder.keys import choices_of, is_flag
    from ..encoder.outside import add_installed
    from ..encoder.wording import field_at
    from ..files.load import path_of

    add_installed()
    path = path_of(key)
    field = field_at(path) or field_at(("stages", *path))
    if field is None:
        return []
    return ["true", "false"] if is_flag(field) else choices_of(field)
