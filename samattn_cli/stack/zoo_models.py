"""Models of torchvision and ultralytics as data: the shapes of their weights and buffers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from ..errors import ImportFailedError, did_you_mean
from .tracing.load import OnMeta

Builders = Mapping[str, Callable[[], Any]]


def shapes_of_zoo(zoo: str, name: str) -> dict[str, tuple[int, ...]]:
    """Name to shape of the weights and buffers of a model.

    Raises:
        ImportFailedError: if the zoo cannot be imported, has no such model, or cannot make it.
    """
    builders: Builders = _loaded(zoo, f"{zoo}:{name}")
    if name not in builders:
        alike = (
            known for known in builders if _digits(known) == _digits(name)
        )  # "sam3" is not "sam_l", misspelt
        hint = did_you_mean(name, alike) or f": choose from {', '.join(builders)}"
        raise ImportFailedError("unknown-model", f"{zoo}:{name}: samattn reads no such model of {zoo}{hint}")
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr), OnMeta():
            warnings.simplefilter("ignore")
            weights = builders[name]().state_dict()
    except Exception as error:  # noqa: BLE001 - a model may raise any error while it is made
        raise _broken(zoo, f"{zoo}:{name}", "cannot make this model", error) from None
    return {key: tuple(weight.shape) for key, weight in weights.items()}


def _digits(name: str) -> list[str]:
    return [sign for sign in name if sign.isdigit()]


def _loaded(zoo: str, source: str) -> Builders:
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):  # ultralytics prints as it is imported
            warnings.simplefilter("ignore")
            return ZOOS[zoo]()
    except Exception as error:  # noqa: BLE001 - a library may raise any error while it is imported
        raise _broken(zoo, source, "is installed but cannot be imported", error) from None


def _broken(zoo: str, source: str, what: str, error: Exception) -> ImportFailedError:
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ImportFailedError(
        "broken-library", f"{source}: {zoo} {what} ({line}): python -c 'import {zoo}' may show why"
    )


def _of_torchvision() -> Builders:
    """Its transformers over images and videos; others have no attention over patches, or in other windows."""
    models = import_module("torchvision.models")
    names = (name for name in models.list_models() if name.startswith(("swin_", "swin3d_", "vit_")))
    return {name: lambda name=name: models.get_model(name, weights=None) for name in names}  # type: ignore[misc]


def _of_ultralytics() -> Builders:
    """SAM's models by the names of their checkpoints, with or without the extension."""
    builders = import_module("ultralytics.models.sam.build").sam_model_map
    return {name.removesuffix(".pt"): build for name, build in builders.items()}


ZOOS: dict[str, Callable[[], Builders]] = {"torchvision": _of_torchvision, "ultralytics": _of_ultralytics}
