"""Models of torchvision and ultralytics by name, such as "torchvision:swin_t": read as a checkpoint of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ..encoder.model import EncoderConfig
from ..encoder.slots import OF_IMAGES
from ..errors import ImportFailedError, Message
from ..units import format_size
from .checkpoint import Shapes

ZOOS = ("torchvision", "ultralytics")


def zoo_of(source: str) -> str:
    """The library whose model a source names; "" if it names none."""
    zoo, colon, name = source.partition(":")
    return zoo if colon and name and zoo in ZOOS else ""


def differences(zoo: str, config: EncoderConfig) -> Iterator[str]:
    """Where a library runs an encoder differently. Source: torchvision 0.29.1, `shifted_window_attention`."""
    small = [layer for layer in config.layers if min(layer.grid) < min(layer.stage.window_size)]
    if zoo == "torchvision" and small and len(config.grid) in OF_IMAGES:
        grid, window = (format_size(pair) for pair in (small[0].grid, small[0].stage.window_size))
        yield Message(
            "torchvision-differs",
            f"At {format_size(config.image_size)} the grid of stages.{small[0].stage_index} is {grid}, smaller than its window of "
            f"{window}: torchvision pads it to a whole window, and samattn shrinks the window, as Microsoft's code does.",
        )


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
