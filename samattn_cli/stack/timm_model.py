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

Said = dict[str, Any]

GELU = "GELU"
"""torch's, or timm's own."""
TORCHVISION = "torchvision"


def described(name: str) -> tuple[Said, dict[str, tuple[int, ...]]]:
    """What the modules of a timm model say, by "module.attribute", and name to shape of its weights.

    Raises:
        ImportFailedError: if timm cannot be used, has no such model, or the model's activations are not GELU.
    """
    timm = _timm(name)
    if not timm.is_model(name):
        raise ImportFailedError(
            f"{name}: there is no such file, and timm has no such model{did_you_mean(name, timm.list_models())}"
        )
    model = _made(timm, name)
    _check_activations(name, model)
    shapes = {key: tuple(weight.shape) for key, weight in model.named_parameters()}
    return dict(_said(model)), shapes


def _timm(name: str) -> ModuleType:
    """The library, which imports torchvision, whose operators must be of this torch.

    Raises:
        ImportFailedError: if it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("timm")
    except Exception as error:  # noqa: BLE001 - whatever the libraries that it imports raise
        said = _in_a_line(error)
        cure = (
            f"the torchvision that is installed is not of torch {torch.__version__}: pip install --upgrade torchvision"
            if TORCHVISION in said
            else "python -c 'import timm' shows where"
        )
        raise ImportFailedError(
            f"{name}: timm is installed but cannot be imported ({said}): {cure}"
        ) from None


def _made(timm: ModuleType, name: str) -> nn.Module:
    """On the meta device; on the CPU where a model asks for values when it is made, as some do.

    Raises:
        ImportFailedError: if timm cannot make it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception), torch.device("meta"):
            return _module(timm, name)
        try:
            return _module(timm, name)
        except Exception as error:  # noqa: BLE001 - whatever timm raises of a model that lacks something
            raise ImportFailedError(f"{name}: timm cannot make it ({_in_a_line(error)})") from None


def _module(timm: ModuleType, name: str) -> nn.Module:
    made = timm.create_model(name, pretrained=False)
    assert isinstance(made, nn.Module)  # noqa: S101 - told to the type checker
    return made


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _check_activations(name: str, model: nn.Module) -> None:
    """Blocks with another activation have the same weights."""
    for path, module in model.named_modules():
        if (
            path.startswith(("blocks.", "layers."))
            and path.endswith(".act")
            and type(module).__name__ != GELU
        ):
            raise ImportFailedError(
                f"{name}: {path} is {type(module).__name__}, which samattn cannot express: it has {GELU}"
            )


def _said(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Numbers and tuples of numbers; that of the input from the model's card."""
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, (int, tuple)) and not key.startswith("_"):
                yield f"{path}.{key}".lstrip("."), value
    card = getattr(model, "pretrained_cfg", None) or {}
    if size := card.get("input_size"):
        yield "input_size", size[-1] if size[-1] == size[-2] else list(size[-2:])
