"""Finds which keys of a config code reads, so that what it has made can be used again where those have the same values.

A watched config is equal to the config itself, and has its methods. What these compute comes from keys that are read too.
Code must not read `vars` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, TypeVar

from ..records import fields, replace
from .model import EncoderConfig, RunConfig, StageConfig
from .plan import LayerConfig, PartConfig

Path = tuple[str | int, ...]
"""The way to a value: ("neck",), ("run", "dtype"), ("stages", 1, "embed_dim")."""

LENGTH = "#"
"""The last step of the path to the number of stages."""

Watched = TypeVar("Watched", EncoderConfig, StageConfig, RunConfig)
Made = TypeVar("Made")
_READS = " reads"


def watched(config: Watched, reads: dict[Path, Any], at: Path = ()) -> Watched:
    """A config that notes each key that is read of it.

    Args:
        config: the config.
        reads: gets the path and the value of each key that is read.
        at: the path to the config.
    """
    cls: Any = type(config)
    made: Any = object.__new__(_watching(cls))
    vars(made).update({name: getattr(config, name) for name in _keys(cls)})
    vars(made)[_READS] = _Notes(reads, at)
    return made  # type: ignore[no-any-return]


def watching(part: PartConfig | LayerConfig, reads: dict[Path, Any]) -> PartConfig | LayerConfig:
    """A part or block with a config that notes what its code reads."""
    if isinstance(part, PartConfig):
        return replace(part, config=watched(part.config, reads))
    return replace(part, stage=watched(part.stage, reads))


def value_at(config: object, path: Path) -> Any:
    """The value at a path.

    Raises:
        LookupError: if this config has no such stage.
    """
    value: Any = config
    for step in path:
        if isinstance(step, int):
            value = value[step]
        else:
            value = len(value) if step is LENGTH else getattr(value, step)
    return value


class Known(Generic[Made]):
    """What code has made from configs, by the keys that it read and their values."""

    def __init__(self) -> None:
        self.made: dict[tuple[Path, ...], dict[tuple[Any, ...] | None, Made]] = {}

    def find(self, config: object) -> Made | None:
        """What code has made from a config in which the keys that it read have the same values; None if there is none."""
        for paths, of_paths in self.made.items():
            made = of_paths.get(_values(config, paths))
            if made is not None:
                return made
        return None

    def keep(self, reads: Mapping[Path, Any], made: Made) -> None:
        """Keep what code has made, with what it read."""
        self.made.setdefault(tuple(reads), {})[tuple(reads.values())] = made


def _values(config: object, paths: tuple[Path, ...]) -> tuple[Any, ...] | None:
    """The values at paths; None if there is no such stage."""
    try:
        return tuple([value_at(config, path) for path in paths])
    except LookupError:
        return None


@cache
def _keys(cls: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(cls))


class _Notes:
    """What is read of one watched config."""

    def __init__(self, reads: dict[Path, Any], at: Path) -> None:
        self.reads, self.at = reads, at
        self.inner: dict[str, Any] = {}  # watched configs in it

    def value(self, name: str, value: Any) -> Any:
        """The value of a key that is read."""
        if name in self.inner:
            return self.inner[name]
        at = (*self.at, name)
        if isinstance(value, RunConfig):
            self.inner[name] = watched(value, self.reads, at)
        elif name == "stages":
            length = (*at, LENGTH)
            self.reads[length] = len(value)
            self.inner[name] = tuple(
                watched(stage, self.reads, (*at, number)) for number, stage in enumerate(value)
            )
        else:
            self.reads[at] = value
            return value
        return self.inner[name]


@cache
def _watching(cls: Any) -> type:
    """A subclass whose objects note what is read of them, and which claims to be the class itself."""
    names = _keys(cls)

    def read(self: object, name: str) -> Any:
        if name == "__class__":
            return cls
        value = object.__getattribute__(self, name)
        if name not in names:
            return value
        notes: Mapping[str, _Notes] = object.__getattribute__(self, "__dict__")
        return notes[_READS].value(name, value)

    return type(cls.__name__, (cls,), {"__getattribute__": read})
