"""Runs operations on meta tensors, each once for operands of the same shapes: its results are remembered by their layout.

Many of torch's meta kernels are written in Python and take milliseconds, and a cross-check runs the encoder six times. What
a kernel returns depends on the shapes, strides and types of its operands alone. Not remembered: what shares memory with an
operand (a view), what is changed in place, and operands that are not on meta.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .versions import as_in_torch_2_13

Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, strides and type."""

LAYER_NORM = torch.ops.aten.native_layer_norm.default

MOST = 20_000
"""How many results are remembered."""

_RESULTS: dict[Any, Any] = {}


class _Unknown(Exception):  # noqa: N818 - not an error: the operation is run as it is
    """An operand or result that cannot be remembered."""


class OnMeta(TorchDispatchMode):
    """Runs each operation by `run_on_meta`. It is the inner one of several modes."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation."""
        return as_in_torch_2_13(func, args, run_on_meta(func, args, kwargs or {}))


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What an operation of ATen returns. Call it where no mode is to see the operation."""
    with torch._C.DisableTorchFunction():
        if func is LAYER_NORM and args[0].is_contiguous():
            args = (args[0].view(args[0].shape), *args[1:])  # with the strides that its result has on CUDA
        if not _is_functional(func):
            return func(*args, **kwargs)
        try:
            key = func, _key(args), _key(tuple(kwargs.items()))
        except _Unknown:
            return func(*args, **kwargs)
        if key not in _RESULTS:
            return _run(key, func, args, kwargs)
        layouts = _RESULTS[key]
        return func(*args, **kwargs) if layouts is None else _fresh(layouts)


def _run(key: Any, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    result = func(*args, **kwargs)
    if len(_RESULTS) >= MOST:
        _RESULTS.clear()
    try:
        _RESULTS[key] = _layouts(result, set(_storages(args)) | set(_storages(tuple(kwargs.values()))))
    except _Unknown:
        _RESULTS[key] = None
    return result


@cache
def _is_functional(func: Any) -> bool:
    """Whether no operand is changed or returned, by the operation's schema."""
    schema = func._schema
    return not any(item.alias_info for item in (*schema.arguments, *schema.returns))


def _key(value: Any) -> Any:
    """What the results depend on. Numbers are kept with their types: 1 and 1.0 are equal."""
    if isinstance(value, Tensor):
        if not value.is_meta or value.dtype.is_complex:
            raise _Unknown
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_key, value))
    return type(value), value


def _storages(values: tuple[Any, ...] | list[Any]) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value.untyped_storage()._cdata
        elif isinstance(value, tuple | list):
            yield from _storages(value)


def _layouts(result: Any, taken: set[int]) -> Any:
    """The layouts of results, each of which has a storage of its own, as large as its layout needs."""
    if isinstance(result, tuple):
        return tuple(_layouts(item, taken) for item in result)
    if not isinstance(result, Tensor):
        if isinstance(result, list):
            raise _Unknown
        return [result]
    layout = *_, dtype = _key(result)
    storage = result.untyped_storage()
    elements = 1 + sum((size - 1) * stride for size, stride in zip(*layout[:2], strict=True))
    needed = elements * dtype.itemsize if result.numel() else 0
    if storage._cdata in taken or storage.nbytes() != needed or result.storage_offset():
        raise _Unknown
    taken.add(storage._cdata)
    return layout


def _fresh(layouts: Any) -> Any:
    if isinstance(layouts, list):
        return layouts[0]
    if layouts and isinstance(layouts[0], torch.Size):
        shape, strides, dtype = layouts
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    return tuple(map(_fresh, layouts))
