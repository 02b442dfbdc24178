"""timm's models as data: the shapes of their weights, and the plain attributes of their modules."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import ImportFailedError, did_you_mean

BLOCKS = ("blocks.", "layers.")
"""How the names of modules in blocks begin."""
CLASSES = ("blocks.0", "blocks.0.norm1", "rope")
"""Modules whose classes, fractions and words show what their weights do not."""
TORCHVISION = "torchvision"


def attributes_and_shapes(name: str, no_file: str = "") -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The attributes of a timm model's modules by "module.attribute", and name to shape of its weights.

    Args:
        name: the name of the model.
        no_file: what else it could have been and is not, "no such file, and ".

    Raises:
        ImportFailedError: if timm cannot be used, has no such model, or cannot make it.
    """
    timm = _timm(name)
    if not timm.is_model(name):
        raise ImportFailedError(
            "file-not-found",
            f"{name}: {no_file}timm has no such model{did_you_mean(name, timm.list_models())}",
        )
    model = _made(timm, name)
    shapes = {key: tuple(weight.shape) for key, weight in model.named_parameters()}
    return dict(_attributes(model)), shapes


def _timm(name: str) -> ModuleType:
    """The library. It imports torchvision, whose operators must be built for the installed torch.

    Raises:
        ImportFailedError: if it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("timm")
    except Exception as error:  # noqa: BLE001 - the libraries that it imports may raise any error
        line = _in_a_line(error)
        cure = (
            f"the installed torchvision does not fit torch {torch.__version__}: pip install --upgrade torchvision"
            if TORCHVISION in line
            else "python -c 'import timm' shows where"
        )
        raise ImportFailedError(
            "broken-timm", f"{name}: timm is installed but cannot be imported ({line}): {cure}"
        ) from None


def _made(timm: ModuleType, name: str) -> nn.Module:
    """The model on the meta device, or on the CPU if it needs values when it is made, as some models do.

    Raises:
        ImportFailedError: if timm cannot make it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception), torch.device("meta"):
            return _module(timm, name)
        try:
            return _module(timm, name)
        except Exception as error:  # noqa: BLE001 - timm may raise any error for a model that needs more packages
            raise ImportFailedError(
                "broken-timm", f"{name}: timm cannot make this model ({_in_a_line(error)})"
            ) from None


def _module(timm: ModuleType, name: str) -> nn.Module:
    model = timm.create_model(name, pretrained=False)
    assert isinstance(model, nn.Module)  # noqa: S101 - for the type checker
    return model


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _attributes(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Those that are numbers and tuples, the classes of some modules and of activations in blocks, and the input size from the model's card."""
    for path, module in model.named_modules():
        if path.startswith(BLOCKS) and path.endswith(".act"):
            yield path, type(module).__name__
        if path in CLASSES:
            yield path, type(module).__name__
        kinds = (int, float, str, tuple) if path in CLASSES else (int, tuple)
        for key, value in vars(module).items():
            if isinstance(value, kinds) and not key.startswith("_"):
                yield f"{path}.{key}".lstrip("."), value
    card = getattr(model, "pretrained_cfg", None) or {}
    if size := card.get("input_size"):
        yield "input_size", size[-1] if size[-1] == size[-2] else list(size[-2:])
