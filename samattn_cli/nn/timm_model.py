"""timm's models as data: the shapes of their weights, and the plain attributes of their modules."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..errors import ImportFailedError, did_you_mean

Said = dict[str, Any]

GELU = "GELU"
"""torch's, or timm's own."""


def described(name: str) -> tuple[Said, dict[str, tuple[int, ...]]]:
    """What the modules of a timm model say, by "module.attribute", and name to shape of its weights.

    Raises:
        ImportFailedError: if timm has no such model, or its activations are not GELU.
    """
    import timm

    if not timm.is_model(name):
        raise ImportFailedError(
            f"{name}: there is no such file, and timm has no such model{did_you_mean(name, timm.list_models())}"
        )
    model = _made(timm, name)
    _check_activations(name, model)
    shapes = {key: tuple(weight.shape) for key, weight in model.named_parameters()}
    return dict(_said(model)), shapes


def _made(timm: Any, name: str) -> nn.Module:
    """On the meta device; on the CPU where a model asks for values when it is made, as some do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                made = timm.create_model(name, pretrained=False)
        except (RuntimeError, NotImplementedError):
            made = timm.create_model(name, pretrained=False)
    assert isinstance(made, nn.Module)  # noqa: S101 - told to the type checker
    return made


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
