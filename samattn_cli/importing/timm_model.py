"""A timm model, made without memory for its weights: their shapes, and the attributes of its modules."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import ImportFailedError
from .checkpoint import Shapes

NEEDED = ("torch", "timm")
TIMM = "timm:"
"""Before the name of a timm model, as `samattn trace` has it; it may be left out."""


def read_timm_model(source: str) -> tuple[dict[str, Any], Shapes]:
    """The attributes of its modules by "module.attribute", and name to shape of its weights.

    Raises:
        ImportFailedError: if timm is not installed, or has no such model.
    """
    no_file = "" if source.startswith(TIMM) else "no such file; "
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise ImportFailedError(
            "not-installed",
            f"{source}: {no_file}importing a timm model of that name needs {' and '.join(missing)}: "
            f"pip install {' '.join(missing)}",
        )
    from ..stack.timm_model import attributes_and_shapes

    return attributes_and_shapes(source.removeprefix(TIMM), no_file.replace(";", ", and"))
