"""Builds the module that a target names, on the meta device: its weights are never made.

Constructors of weights (`torch.empty`, `torch.zeros`, ...) make meta tensors while it is built. Others, such as `torch.arange` and
`torch.linspace`, make real ones, because builders read numbers from them: depths of stochastic depth, tables of positions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ...errors import SamattnError, did_you_mean
from .signatures import check_arguments, defined_in

MADE_ON_META = {
    torch.empty,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.rand,
    torch.randn,
    torch.empty_strided,
    torch.normal,
    torch.eye,
}
ZOOS = ("timm", "torchvision")
CONFIG = "config.json"
PIXELS = "pixel_values"


class OnMeta(TorchFunctionMode):
    """Constructors of weights make meta tensors, unless they are told a device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`."""
        kwargs = dict(kwargs or {})
        if func in MADE_ON_META and kwargs.get("device") is None and "out" not in kwargs:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


class Target:
    """What a target names: how it is built, and the inputs that it takes if the user does not say."""

    def __init__(self, build: Callable[[], Any], inputs: dict[str, tuple[int, ...]] | None = None) -> None:
        self.build = build
        self.inputs = inputs


def target_of(name: str, arguments: Mapping[str, Any]) -> Target:
    """The target of a name.

    Raises:
        SamattnError: if there is no such target.
    """
    zoo, _, rest = name.partition(":")
    if zoo in ZOOS and rest:
        return _of_zoo(zoo, rest, arguments)
    path = Path(name)
    if path.name.endswith(".json") or path.is_dir():
        return _of_hugging_face(path, arguments)
    return _of_code(name, arguments)


def _of_code(name: str, arguments: Mapping[str, Any]) -> Target:
    module_name, _, attribute = name.partition(":")
    if not attribute and (as_module := _as_module(module_name)):
        raise SamattnError(
            "not-a-target", f"name what to build, such as {as_module}:{defined_in(module_name)}"
        )
    if not attribute:
        raise SamattnError(
            "not-a-target",
            "is not a target; write package.module:callable, timm:NAME, torchvision:NAME, or the folder of a "
            "Hugging Face model",
        )
    if as_module := _as_module(module_name):
        raise SamattnError("no-such-module", f"{module_name} is a file; write {as_module}:{attribute}")
    found: Any = _imported(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SamattnError(
                "no-such-attribute",
                f"{module_name} has no {attribute!r}{did_you_mean(part, dir(found))}",
            )
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return Target(lambda: found)
    if not callable(found):
        raise SamattnError(
            "not-callable",
            f"is {type(found).__name__}; a class or a function that returns a module would be right",
        )
    check_arguments(found, arguments)
    return Target(lambda: found(**arguments))


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SamattnError(
                "no-such-module",
                f"no module named {error.name!r} in this folder ({Path.cwd()}) or among the installed packages",
            ) from None
        raise


def _as_module(name: str) -> str:
    """How a Python file of the working folder is written as a module; "" if it is not one."""
    path = Path(name)
    parts = [part for part in path.with_suffix("").parts if part != "."]
    is_here = path.suffix == ".py" and path.is_file() and not path.is_absolute() and ".." not in parts
    return ".".join(parts) if is_here else ""


def _of_zoo(zoo: str, name: str, arguments: Mapping[str, Any]) -> Target:
    package = _installed(zoo)
    if zoo == "timm":
        if not package.is_model(name.partition(".")[0]):
            raise SamattnError(
                "unknown-model",
                f"timm:{name}: timm has no such model{did_you_mean(name, package.list_models())}",
            )
        size = package.models.get_pretrained_cfg(name).input_size
        size = arguments.get("img_size", size[-2:]) if "img_size" in arguments else size
        shape = (3, size, size) if isinstance(size, int) else (*((3,) if len(size) == 2 else ()), *size)  # noqa: PLR2004
        return Target(lambda: package.create_model(name, pretrained=False, **arguments), {"0": (1, *shape)})
    models = import_module("torchvision.models")
    if name not in models.list_models():
        raise SamattnError(
            "unknown-model",
            f"torchvision:{name}: torchvision has no such model{did_you_mean(name, models.list_models())}",
        )
    side = arguments.get("image_size", 224)
    return Target(lambda: models.get_model(name, weights=None, **arguments), {"0": (1, 3, side, side)})


def _installed(package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise SamattnError("not-installed", f"{package} is not installed: pip install {package}") from None


def _of_hugging_face(path: Path, arguments: Mapping[str, Any]) -> Target:
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        missing = f"this folder has no {CONFIG}" if path.is_dir() else "there is no such file"
        raise SamattnError("file-not-found", f"{missing}; a Hugging Face model has a {CONFIG}")
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SamattnError("not-json", f"cannot be read: {error}") from None
    if not isinstance(described, dict) or "model_type" not in described:
        raise SamattnError(
            "not-a-model-config",
            "has no model_type, so it is not the config of a Hugging Face model",
        )
    if "auto_map" in described:
        raise SamattnError(
            "remote-code",
            "its auto_map names code of its own, which samattn does not run. If the model's code is in a package that "
            "you trust, trace that: package.module:callable",
        )
    transformers = _installed("transformers")
    kind = described.pop("model_type")
    try:
        config = transformers.AutoConfig.for_model(kind, **described)
    except (KeyError, ValueError) as error:
        known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
        if kind in known:
            raise
        raise SamattnError(
            "unknown-model",
            f"transformers {transformers.__version__} has no model_type {kind!r}{did_you_mean(kind, known)}",
        ) from error
    return Target(
        lambda: transformers.AutoModel.from_config(config, trust_remote_code=False, **arguments),
        _pixels(config),
    )


def _pixels(config: Any) -> dict[str, tuple[int, ...]] | None:
    """The image that a config speaks of, in its own keys or those of its vision part."""
    for part in (config, getattr(config, "vision_config", None), getattr(config, "backbone_config", None)):
        size = getattr(part, "image_size", None)
        if size:
            height, width = (size, size) if isinstance(size, int) else size
            channels = getattr(part, "num_channels", 3)
            return {PIXELS: (1, channels, height, width)}
    return None


def build(target: Target, notes: list[str]) -> nn.Module:
    """The module of a target, on the meta device if it can be built there, otherwise built on the CPU and moved.

    Raises:
        SamattnError: if it is not a module.
    """
    try:
        with OnMeta():
            module = target.build()
    except Exception as error:  # noqa: BLE001 - a builder may do anything; what it does with numbers is its own fault or not
        module = _built_with_numbers(target, error)
        notes.append(
            "it could not be built without numbers, so its weights were made on the CPU, and dropped "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        )
    if not isinstance(module, nn.Module):
        raise SamattnError(
            "not-a-module", f"returns {type(module).__name__}; a torch.nn.Module would be right"
        )
    return module


def _built_with_numbers(target: Target, first: Exception) -> Any:
    """Build again on the CPU, if the fault may lie in meta tensors."""
    if not about_meta(first):
        raise first
    return target.build()


def about_meta(error: BaseException) -> bool:
    """Whether an error comes from a tensor that has no numbers."""
    text = str(error).lower()
    return isinstance(error, RuntimeError | NotImplementedError | ValueError | TypeError) and any(
        word in text
        for word in ("meta", "fake", "same device", "no data", "data-dependent", "item()", "storage")
    )


def on_device(module: nn.Module, device: str, dtype: torch.dtype | None) -> nn.Module:
    """`module` with all of its weights and buffers on a device and, those of real numbers, in a type.

    Raises:
        SamattnError: if a weight is on another device than the CPU.
    """
    moved: dict[int, Tensor] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type not in {"cpu", "meta"}:
            raise SamattnError(
                "other-device",
                f"its parameter {name} is on {tensor.device}; build the module on the CPU or without a device",
            )
    for owner in module.modules():
        tables: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers)
        for table in tables:
            for name, weight in table.items():
                if weight is not None:
                    table[name] = moved.setdefault(id(weight), _moved(weight, device, dtype))
    return module


def _moved(tensor: Tensor, device: str, dtype: torch.dtype | None) -> Tensor:
    to = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    if tensor.device.type == device and tensor.dtype == to:
        return tensor
    if is_traceable_wrapper_subclass(tensor):
        moved = _wrapped(tensor, device, to)
    elif tensor.is_meta:
        moved = torch.empty_strided(tensor.shape, tensor.stride(), dtype=to, device=device)
        moved = moved if device == "meta" else moved.zero_()
    else:
        moved = tensor.detach().to(device=device, dtype=to)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _wrapped(tensor: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    """A tensor that is made of others, such as a quantized weight, by its own code; by its parts if that loses them."""
    with suppress(Exception):  # a class need not say how it is moved, and most cannot leave the meta device
        moved = tensor.detach().to(device=device, dtype=dtype)
        if type(moved) is type(tensor):
            return moved
    own: Any = tensor.detach()
    names, about = own.__tensor_flatten__()
    real = dtype if dtype.is_floating_point else None
    parts = {name: _moved(getattr(own, name), device, real) for name in names}
    return cast("Tensor", type(own).__tensor_unflatten__(parts, about, own.shape, own.stride()))


def make_importable(folder: str) -> None:
    """Let `import` find the modules of a folder first."""
    sys.path.insert(0, folder)
