"""Python pickles, read without running what they name.

A pickle names classes and functions that rebuild its objects. A name in `INERT` stands for `Inert`, which keeps nothing and
does nothing; a name in `SHAPED` for what keeps the shape of a tensor or an array. A pickle with any other name is refused.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ImportFailedError

MODULES_OF_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Of version 1 and of version 2."""

INERT = (
    "argparse.Namespace", "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath",
    "pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "builtins.getattr", "builtins.set", "builtins.list", "builtins.dict", "builtins.int", "builtins.float", "builtins.str",
    "builtins.bool", "_codecs.encode", "typing.Any", "collections.deque",
    "datetime.datetime", "datetime.timedelta", "datetime.date",
    *(f"{module}.scalar" for module in MODULES_OF_NUMPY), "numpy.dtype", "numpy.ndarray",
    *(f"numpy.dtypes.{kind}DType" for kind in (
        "Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32", "Float64",
        "LongLong", "Str", "Bytes", "Object",
    )),
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata", "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode", "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode", "omegaconf.nodes.BooleanNode",
    "mmengine.logging.history_buffer.HistoryBuffer",
)  # fmt: skip
"""What training scripts save next to the weights: settings, the state of schedules, a history of the loss."""

MAPPINGS = (
    "yacs.config.CfgNode", "detectron2.config.config.CfgNode", "fvcore.common.config.CfgNode",
    "mmengine.config.config.ConfigDict", "addict.addict.Dict", "easydict.EasyDict",
    "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
)  # fmt: skip
"""Settings in classes that are dicts."""
MADE_BY_CALL = ("collections.defaultdict", "collections.Counter")
"""Dicts that a pickle makes by a call, with what their entries begin as."""


class Inert:
    """Takes the place of an object that is not a weight."""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """Take anything, keep nothing."""

    def __setstate__(self, state: Any) -> None:
        """The attributes of the object; they are dropped."""

    def append(self, item: Any) -> None:
        """An item, if the object is a list."""

    def extend(self, items: Any) -> None:
        """Items, if the object is a list."""


class Shaped(Inert):
    """Takes the place of an array.

    Attributes:
        shape: of the array; None for a tensor's storage.
    """

    shape: tuple[int, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        """NumPy's (version, shape, dtype, whether columns are contiguous, data)."""
        self.shape = _sizes(state[1])


def _of_shape(shape: Any) -> Shaped:
    array = Shaped()
    array.shape = _sizes(shape)
    return array


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in shape)


def _tensor(_storage: Any, _offset: Any, shape: Any, *_rest: Any) -> Shaped:
    return _of_shape(shape)


def _parameter(data: Any, *_rest: Any) -> Any:
    return data


def _from_buffer(_buffer: Any, _dtype: Any, shape: Any, *_rest: Any) -> Shaped:
    return _of_shape(shape)


def _mapping(*_args: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


DICTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(MAPPINGS, OrderedDict),
    **dict.fromkeys(MADE_BY_CALL, _mapping),
}
"""Names of dicts; an OrderedDict, which may have attributes, takes their place."""

ARRAYS = {f"{module}._reconstruct": Shaped for module in MODULES_OF_NUMPY}
SHAPED: dict[str, Callable[..., Any]] = {
    **ARRAYS,
    **DICTS,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": Inert,
    "collections.OrderedDict": OrderedDict,
}
"""Names of a plain pickle that have a shape, or hold what has."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in SHAPED:
            return SHAPED[full]
        if full in INERT:
            return Inert
        raise pickle.UnpicklingError(f"GLOBAL {full}")


def read_pickle(path: Path) -> Any:
    """What a plain pickle has, arrays and tensors as `Shaped`.

    Raises:
        ImportFailedError: if it is damaged, or names what is not known to be data.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, encoding="latin1").load()
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise refusal(path, str(error)) from None
    except Exception as error:  # noqa: BLE001 - a damaged file may raise any error
        raise damaged(path, str(error)) from None


def refusal(path: Path, message: str) -> ImportFailedError:
    """The error for a file that is damaged, or that names a class that is not known to be data.

    `message` is that of torch or of `read_pickle`.
    """
    unsafe = re.search(r"(?:GLOBAL|class) (\S+)", message)
    if unsafe is None:
        return damaged(path, "")
    name = unsafe[1].strip("`'")
    return ImportFailedError(
        "unsafe-checkpoint",
        f"{path}: contains objects other than weights ({name}), which samattn does not load: save only its state_dict",
    )


def damaged(path: Path, why: str) -> ImportFailedError:
    """The error for a file that is truncated, or is another kind of file; `why` may be empty."""
    why = re.split(r"\.\s|\n", why, maxsplit=1)[0].rstrip(".")  # the rest of torch's message is advice
    return ImportFailedError(
        "damaged-checkpoint", f"{path}: is truncated, or not a PyTorch checkpoint{why and f': {why}'}"
    )
