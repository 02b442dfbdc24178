"""Runs operations on meta tensors, each once for operands of the same shapes: its results are remembered by their layout.

Many of torch's meta kernels are written in Python and take milliseconds, and a cross-check runs the encoder four times. What
a kernel returns depends on the shapes, strides and types of its operands alone. Not remembered: what shares memory with an
operand (a view), what is changed in place, and operands that are not on meta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .versions import as_in_torch_2_13

LAYER_NORM = torch.ops.aten.native_layer_norm.default

UNSAFE_VIEW, VIEW = torch.ops.aten._unsafe_view.default, torch.ops.aten.view.default

MOST = 20_000
"""How many results are remembered."""

META = torch.device("meta")

_RESULTS: dict[Any, Callable[[], Any] | None] = {}
"""By operation and operands, what makes results like those of the first run; None if these are to be run each time."""


class _Unknown(Exception):  # noqa: N818 - not an error: the operation is run as it is
    """An operand or result that cannot be remembered."""


class OnMeta(TorchDispatchMode):
    """Runs each operation by `run_on_meta`. It is the inner one of several modes."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out the layer that keeps torch's compiler out, since nothing is compiled here: it is called for each operation."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation."""
        return as_in_torch_2_13(func, args, run_on_meta(func, args, kwargs or {}))


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What an operation of ATen returns. Call it where no mode is to see the operation."""
    with torch._C.DisableTorchFunction():
        return run_remembered(func, args, kwargs)[0]


def run_remembered(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """What an operation returns, and what it is: an object that is the same for the same operation on the same layouts.

    Call it where torch functions are switched off. Of an operation that is not remembered, the object says nothing of layouts.
    """
    if func is LAYER_NORM and args[0].is_contiguous():
        args = (args[0].view(args[0].shape), *args[1:])  # with the strides that its result has on CUDA
    if func is UNSAFE_VIEW:
        func = VIEW  # the same on meta, and written in C++
    key = _key_of(func, args, kwargs)
    if key is None:
        return func(*args, **kwargs), func
    if key not in _RESULTS:
        result = _run(key, func, args, kwargs)
        return result, _RESULTS[key] or func
    make = _RESULTS[key]
    return (func(*args, **kwargs), func) if make is None else (make(), make)


def remembered(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What `run_remembered` says that an operation is, after it was run."""
    return _RESULTS.get(_key_of(func, args, kwargs)) or func


def _key_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What identifies an operation with its operands; None if it is not to be remembered."""
    functional = _FUNCTIONAL.get(id(func))
    if functional is None:
        functional = _FUNCTIONAL[id(func)] = _is_functional(func)
    if not functional:
        return None
    try:
        return id(func), _key(args), _key(tuple(kwargs.items())) if kwargs else None
    except _Unknown:
        return None


def _run(key: Any, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    result = func(*args, **kwargs)
    if len(_RESULTS) >= MOST:
        _RESULTS.clear()
    try:
        _RESULTS[key] = _maker(result, set(_storages((*args, *kwargs.values()))))
    except _Unknown:
        _RESULTS[key] = None
    return result


_FUNCTIONAL: dict[int, bool] = {}
"""Of each operation that was run, by its `id`, which is its own for as long as Python runs."""


def _is_functional(func: Any) -> bool:
    """Whether no operand is changed or returned, by the operation's schema."""
    schema = func._schema
    return not any(item.alias_info for item in (*schema.arguments, *schema.returns))


def _key(values: tuple[Any, ...] | list[Any]) -> tuple[Any, ...]:
    """What the results depend on: of tensors shape, strides and type. Numbers are kept with their types: 1 and 1.0 are equal."""
    key: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta:
                raise _Unknown
            key += (value.shape, value.stride(), value.dtype)
        elif isinstance(value, tuple | list):
            key.append(_key(value))
        else:
            key.append((type(value), value))
    return tuple(key)


def _storages(values: tuple[Any, ...] | list[Any]) -> Iterator[int]:
    """The storages of operands."""
    for value in values:
        if isinstance(value, Tensor):
            if value.dtype.is_complex:
                raise _Unknown
            yield value.untyped_storage()._cdata
        elif isinstance(value, tuple | list):
            yield from _storages(value)


def _maker(result: Any, taken: set[int]) -> Callable[[], Any]:
    """Makes results like these, each of which has a storage of its own, as large as its layout needs."""
    if isinstance(result, tuple):
        makers = [_maker(item, taken) for item in result]
        return lambda: tuple(make() for make in makers)
    if not isinstance(result, Tensor):
        if isinstance(result, list):
            raise _Unknown
        return lambda: result
    if not result.is_meta or result.dtype.is_complex:
        raise _Unknown
    storage = result.untyped_storage()
    elements = 1 + sum(
        (size - 1) * stride for size, stride in zip(result.shape, result.stride(), strict=True)
    )
    needed = elements * result.dtype.itemsize if result.numel() else 0
    if storage._cdata in taken or storage.nbytes() != needed or result.storage_offset():
        raise _Unknown
    taken.add(storage._cdata)
    return partial(torch.empty_strided, result.shape, result.stride(), dtype=result.dtype, device=META)
