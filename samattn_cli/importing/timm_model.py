"""A timm model, made without memory for its weights: their shapes, and what its modules say beside."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import ImportFailedError
from .checkpoint import Shapes

NEEDED = ("torch", "timm")


def model_of(name: str) -> tuple[dict[str, Any], Shapes]:
    """What its modules say, by "module.attribute", and name to shape of its weights.

    Raises:
        ImportFailedError: if timm is not installed, or has no such model.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise ImportFailedError(
            f"{name}: there is no such file; if a timm model is meant, it takes {' and '.join(missing)}: "
            f"pip install {' '.join(missing)}"
        )
    from ..stack.timm_model import described

    return described(name)
