"""What a shell completes: presets, devices, words of keys, metrics, keys of --set. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path

Completer = Callable[[str], list[str]]
YAML = (".yaml", ".yml")
PYTHON = (".py",)
SKIPPED = "."
"""What a folder's hidden files begin with."""


def configs(incomplete: str) -> list[str]:
    """Presets, and YAML files and folders."""
    from ..encoder.presets import presets

    return [*_beginning(presets(), incomplete), *_files(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Devices, and YAML files and folders."""
    from ..encoder.presets import devices as known

    return [*_beginning(known(), incomplete), *_files(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Presets alone."""
    from ..encoder.presets import presets as known

    return _beginning(known(), incomplete)


def shipped_devices(incomplete: str) -> list[str]:
    """Devices that ship with samattn alone."""
    from ..encoder.presets import devices as known

    return _beginning(known(), incomplete)


def families(incomplete: str) -> list[str]:
    """Python files and folders."""
    return list(_files(incomplete, PYTHON))


def topics(incomplete: str) -> list[str]:
    """Topics of the guide."""
    from ..guide import PAGES

    return _beginning(PAGES, incomplete)


def words_of(key: str, *, several: bool = False) -> Completer:
    """The words of a key of `run`; `several`, with commas between."""
    return words(lambda: _words(key), several=several)


def words(known: Callable[[], Iterable[str]], *, several: bool = False) -> Completer:
    """Some words, found when they are asked for; `several`, with commas between, each once."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        listed = before.split(",")
        return [f"{before}{comma}{word}" for word in _beginning(known(), last) if word not in listed]

    return complete


def settings(incomplete: str) -> list[str]:
    """KEY= of --set; after it the words of the key."""
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={word}" for word in _beginning(_words(key), value)]
    return _beginning((f"{name}=" for name in _keys()), incomplete)


def sweep_metrics() -> Iterable[str]:
    """The metrics of a sweep."""
    from ..figures import OF_ENCODER

    return OF_ENCODER


def explained_metrics() -> Iterable[str]:
    """The figures that can be explained."""
    from ..figures import EXPLAINED

    return EXPLAINED


def all_metrics() -> Iterable[str]:
    """Every figure, by each of its names."""
    from ..figures import ALIASES, FIGURES

    return (*FIGURES, *ALIASES)


def limited_metrics() -> Iterable[str]:
    """The figures that a threshold may limit."""
    from ..metric_names import ENCODER

    return ENCODER


def costs() -> Iterable[str]:
    """The costs that a search of placements compares."""
    from ..figures import OF_ENCODER

    return OF_ENCODER


def placements() -> Iterable[str]:
    """The strategies of placing global layers."""
    from ..studies.placements.strategies import KNOWN

    return KNOWN


def _beginning(known: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in known if name.lower().startswith(incomplete.lower())]


def _files(incomplete: str, suffixes: tuple[str, ...] = YAML) -> Iterator[str]:
    """Files with some suffixes, and folders, that a path so far may become."""
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    shown = incomplete[: incomplete.rfind("/") + 1]
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError):  # no folder of that name, or one that may not be read
        return
    for path in paths:
        name = f"{shown}{path.name}{'/' if path.is_dir() else ''}"
        wanted = path.is_dir() or path.suffix in suffixes
        if wanted and name.startswith(incomplete) and not path.name.startswith(SKIPPED):
            yield name


def _keys() -> Iterator[str]:
    """The keys of a config, dotted, as --set has them."""
    from ..encoder.model import EncoderConfig, RunConfig, StageConfig

    nested = {"stages", "run", "overrides"}
    for config, prefix in ((EncoderConfig, ""), (StageConfig, ""), (RunConfig, "run.")):
        yield from (f"{prefix}{entry.name}" for entry in fields(config) if entry.name not in nested)


def _words(key: str) -> list[str]:
    """The words that a key takes."""
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
