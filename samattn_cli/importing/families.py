"""What the `importing` of each family declares. Nothing lists the families.

`HUGGING_FACE` maps a model_type to the function that reads its description. `CHECKPOINTS` has the kinds of checkpoint. Four
more are optional: `BACKBONES` maps a model_type to a function of a description and the keys read from it, which adds what only
backbones have; `COPIES` is like `HUGGING_FACE`, for models with the same encoder but code of their own, whose memory samattn
does not model; `TRANSFORMERS_DIFFERENCES` maps a model_type to a function that says where transformers runs an encoder
differently from samattn; `EAGER_ONLY` has the model_types for which transformers has no attention but eager.
`CONFIG_FILES`, in the `config_file` of a family, has the kinds of YAML configs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..encoder.model import EncoderConfig
from ..encoder.outside import add_installed
from ..encoder.registry import modules
from .config_file import ConfigKind
from .description import Description, Keys
from .weights import CheckpointKind


def hugging_face() -> dict[str, Callable[[Description], Keys]]:
    """The function that reads a description, by model_type."""
    tables = ("HUGGING_FACE", "COPIES")
    return {word: read for family in _families() for table in tables for word, read in _of(family, table)}


def backbones() -> dict[str, Callable[[Description, Keys], Keys]]:
    """The function that adds what a model has as the backbone of another, by model_type."""
    return {word: add for family in _families() for word, add in _of(family, "BACKBONES")}


def copies() -> frozenset[str]:
    """The model_types of encoders that samattn has, in code of their own."""
    return frozenset(word for family in _families() for word, _ in _of(family, "COPIES"))


def transformers_differences() -> dict[str, Callable[[EncoderConfig], Iterator[str]]]:
    """The function that says where transformers runs an encoder differently, by model_type."""
    return {word: check for family in _families() for word, check in _of(family, "TRANSFORMERS_DIFFERENCES")}


def eager_only() -> frozenset[str]:
    """The model_types for which transformers has no attention but eager."""
    return frozenset(word for family in _families() for word in getattr(family, "EAGER_ONLY", ()))


def checkpoints() -> tuple[CheckpointKind, ...]:
    """The kinds of checkpoints, in the order in which they are tried."""
    return tuple(kind for family in _families() for kind in getattr(family, "CHECKPOINTS", ()))


def config_files() -> tuple[ConfigKind, ...]:
    """The kinds of YAML configs, in the order in which they are tried."""
    add_installed()
    return tuple(kind for family in modules("config_file") for kind in getattr(family, "CONFIG_FILES", ()))


def unusable_families() -> str:
    """What is wrong with families of installed packages, which may be the ones that a message misses; a line each."""
    return "".join(f"\n{problem}" for problem in add_installed())


def _of(family: Any, name: str) -> Iterable[tuple[str, Any]]:
    return getattr(family, name, {}).items()


def _families() -> Iterator[Any]:
    add_installed()
    return modules("importing")
