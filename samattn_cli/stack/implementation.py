"""Traces the model of a library that runs an encoder, such as transformers', against the Tape's claims about it."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..encoder.implementations import Run, implementation_of
from ..encoder.model import EncoderConfig
from ..errors import DeviceError
from ..verdicts import Check
from .encoder import ImageEncoder, build


class WithoutErfinv(TorchFunctionMode):
    """Leaves out the inverse error function, with which timm fills weights: their values change nothing here.

    CUDA compiles its kernel at the first use, which the dry device cannot.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`, or return its tensor as it is."""
        return args[0] if func is Tensor.erfinv_ else func(*args, **(kwargs or {}))


def unavailable(config: EncoderConfig) -> Check | None:
    """The verdict if the library's model of an encoder cannot be traced here; None if it can, or if there is none.

    The library is imported here, because that fails while `without_dynamo` keeps torch's compiler out.
    """
    run = implementation_of(config)
    if run is None:
        return None
    library = run.model.library
    if find_spec(library) is None:
        return Check("skipped", reason=f"{library} is not installed")
    try:
        is_known = run.module("stack") is not None
    except Exception as error:  # noqa: BLE001 - another version of the library may raise anything
        first_line = str(error).partition("\n")[0]
        remark = of_another_version(run)
        return Check("failed", reason="; ".join(filter(None, (f"{library}: {first_line}", remark))))
    return (
        None if is_known else Check("skipped", reason=f"samattn cannot build {library}'s {run.model.model}")
    )


def of_another_version(run: Run) -> str:
    """A remark if the installed version is not among those in which the model was seen; "" if it is."""
    library, seen = run.model.library, run.model.versions
    installed = version(library)
    if any(installed == each or installed.startswith(f"{each}.") for each in seen):
        return ""
    return f"{library} {installed} is installed; samattn knows {library} {', '.join(seen)}"


def build_implementation(config: EncoderConfig, device: str = "meta") -> ImageEncoder:
    """The encoder of `config`: the library's model, cut into the parts of the plan, or samattn's own; in evaluation mode.

    Raises:
        DeviceError: if the library is not installed.
    """
    run = implementation_of(config)
    if run is None:
        return build(config, device)
    library = run.model.library
    if find_spec(library) is None:
        message = f"implementation {library} needs {library}: pip install {library}, or use implementation=reference"
        raise DeviceError("not-installed", message)
    with torch.no_grad(), WithoutErfinv():
        return build(config, device, run.module("stack").parts)
