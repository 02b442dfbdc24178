"""Models of torchvision and ultralytics by name, such as "torchvision:swin_t": read as a checkpoint of theirs."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ImportFailedError
from .checkpoint import Shapes

ZOOS = ("torchvision", "ultralytics")


def zoo_of(source: str) -> str:
    """The library whose model a source names; "" if it names none."""
    zoo, colon, name = source.partition(":")
    return zoo if colon and name and zoo in ZOOS else ""


def read_zoo_model(source: str) -> Shapes:
    """Name to shape of the weights and buffers of a model.

    Raises:
        ImportFailedError: if the library is not installed, or has no such model.
    """
    zoo, _, name = source.partition(":")
    missing = [package for package in ("torch", zoo) if find_spec(package) is None]
    if missing:
        raise ImportFailedError(
            "not-installed", f"{source}: needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    from ..stack.zoo_models import shapes_of_zoo

    return shapes_of_zoo(zoo, name.removesuffix(".pt"))
