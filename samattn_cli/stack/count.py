"""FLOP counts of the real stack by fvcore and by torch's FlopCounterMode, on meta tensors: no arithmetic is run.

fvcore traces with torch.jit. Tracing fails inside meta kernels, because sizes are tensors there. So each operation on meta
tensors runs while tracing is off, and the tracer gets a new meta tensor of the same shape and strides. Convolutions are run
as `torch._convolution`, the operation that the tracer records.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..verdicts import Counts
from .cuda import AsOnCuda
from .meta import OnMeta, run_on_meta

FVCORE_KINDS = {
    "linear": "linear",
    "addmm": "linear",
    "matmul": "matmul",
    "bmm": "matmul",
    "conv": "conv2d",
    "layer_norm": "layer_norm",
    "batch_norm": "batch_norm",
    "adaptive_avg_pool2d": "avg_pool",
    "upsample_nearest2d": "upsample_nearest",
    "upsample_bilinear2d": "upsample_bilinear",
}
FLOP_COUNTER_KINDS = {
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "convolution": "conv2d",
    "_scaled_dot_product_efficient_attention": "sdpa",
    "_scaled_dot_product_flash_attention": "sdpa",
}
JIT_SCRIPT_WARNING = r"`torch\.jit\.script` is (deprecated|not supported in Python 3\.14\+)"

OF_CONVOLUTION = 9  # arguments of `_convolution`; the remaining ones select a library

Sides = int | Sequence[int]


def count_with_fvcore(model: nn.Module, image: Tensor) -> Counts:
    """Counts of fvcore's FlopCountAnalysis: MACs, 5 for each element of a LayerNorm and 2 of a BatchNorm.

    It runs in a thread, whose stack is short: the tracer notes the whole Python stack with each operation, which took a
    third of the time where a command line or pytest called.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_count_with_fvcore, model, image).result()


def _count_with_fvcore(model: nn.Module, image: Tensor) -> Counts:
    analyze = import_flop_count_analysis()
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    with torch.no_grad(), _quiet(logger), _untraced_on_meta(model, image), _returning_norms(model):
        analysis = analyze(model, (image,)).unsupported_ops_warnings(False)
        by_module = analysis.uncalled_modules_warnings(False).by_module_and_operator()
    return {module: _by_kind(counts, FVCORE_KINDS) for module, counts in by_module.items()}


def import_flop_count_analysis() -> Any:
    """FlopCountAnalysis of fvcore, without the warning that torch gives when fvcore is imported.

    fvcore compiles two loss functions at import. torch deprecates that: with a DeprecationWarning from 2.10 on, with a
    FutureWarning, which Python shows, in 2.14.1. The counts do not use those functions.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", JIT_SCRIPT_WARNING, category, r"torch\.jit\._script")
        from fvcore.nn import FlopCountAnalysis
    return FlopCountAnalysis


def count_with_flop_counter(model: nn.Module, image: Tensor) -> Counts:
    """Counts of torch's FlopCounterMode: two FLOPs for each MAC of matrix products and convolutions."""
    with torch.no_grad(), AsOnCuda.of(model), counting_flops(model) as counts:
        model(image)
    return counts


@contextmanager
def counting_flops(model: nn.Module) -> Iterator[dict[str, dict[str, int]]]:
    """Count what `model` runs within this context by torch's FlopCounterMode; the counts are there after it."""
    counts: dict[str, dict[str, int]] = {}
    with OnMeta(), FlopCounterMode(display=False) as counter:
        yield counts
    root = type(model).__name__
    for module, of_module in counter.get_flop_counts().items():
        by_name = {operation.__name__: number for operation, number in of_module.items()}
        counts[_relative(module, root)] = _by_kind(by_name, FLOP_COUNTER_KINDS)


def _relative(module: str, root: str) -> str:
    return "" if module in {"Global", root} else module.removeprefix(f"{root}.")


def _by_kind(counts: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, int]:
    """Counts by samattn's names of the kinds; an unknown kind keeps its own name, so that it shows as a difference."""
    result: dict[str, int] = {}
    for name, count in counts.items():
        kind = kinds.get(name, name)
        if count != int(count):
            raise ValueError(f"{count} {name} is not a whole number, so the count is rounded")
        result[kind] = result.get(kind, 0) + int(count)
    return {kind: count for kind, count in result.items() if count}


@contextmanager
def _returning_norms(model: nn.Module) -> Iterator[None]:
    """The model also returns the results of its norms: torch.jit leaves out operations whose results nothing reads."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    results = list[Any]()
    handles = [norm.register_forward_hook(lambda _norm, _images, out: results.append(out)) for norm in norms]
    handles.append(model.register_forward_hook(lambda _model, _images, out: (out, *results)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _untraced_on_meta(model: nn.Module, image: Tensor) -> Iterator[None]:
    if not image.is_meta:
        yield
        return
    with _RecordedConvolution(), _Untraced((image, *model.parameters(), *model.buffers())):
        yield


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _RecordedConvolution(TorchFunctionMode):
    """Convolutions as the operation that the tracer records."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`; a convolution as `torch._convolution`.

        An assignment to a part of a tensor has no FLOPs and fails while tracing, so it is left out.
        """
        kwargs = kwargs or {}
        if func is Tensor.__setitem__:
            return None
        if func in {F.conv2d, F.conv3d}:
            return _convolution(*args, **kwargs)
        return (
            _transposed_convolution(*args, **kwargs) if func is F.conv_transpose2d else func(*args, **kwargs)
        )


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sides = 1,
    padding: Sides = 0,
    dilation: Sides = 1,
    groups: int = 1,
    *,
    transposed: bool = False,
    output_padding: Sides = 0,
) -> Tensor:
    strides, paddings, dilations, more_padding = (
        _each(sides, x.dim() - 2) for sides in (stride, padding, dilation, output_padding)
    )
    more: tuple[Any, ...] = (transposed, more_padding, groups, False, False, True, True)
    return torch._convolution(x, weight, bias, strides, paddings, dilations, *more)


def _transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sides = 1,
    padding: Sides = 0,
    output_padding: Sides = 0,
    groups: int = 1,
    dilation: Sides = 1,
) -> Tensor:
    return _convolution(
        x, weight, bias, stride, padding, dilation, groups, transposed=True, output_padding=output_padding
    )


def _each(sides: Sides, dims: int) -> tuple[int, ...]:
    return (sides,) * dims if isinstance(sides, int) else tuple(sides)


class _Layout:
    """The shape, strides and type of a tensor on the meta device."""

    __slots__ = ("_dtype", "_shape", "_stride", "key")

    def __init__(self, tensor: Tensor) -> None:
        self._shape, self._stride, self._dtype = tensor.shape, tensor.stride(), tensor.dtype
        self.key = (self._shape, self._stride, self._dtype)

    def fresh(self) -> Tensor:
        """A tensor of this layout, which knows it."""
        tensor = torch.empty_strided(self._shape, self._stride, dtype=self._dtype, device="meta")
        tensor.untraced = self  # type: ignore[attr-defined]
        return tensor


class _Unknown(Exception):  # noqa: N818 - not an error: the operation is run
    """An operand whose layout is not known."""


class _Untraced(TorchDispatchMode):
    """Runs each operation on meta tensors without the tracer, once for operands of the same layouts.

    While torch traces, sizes are tensors. So a tensor that is made here has its layout as an attribute.

    Args:
        given: the weights and the image.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self._given = {id(tensor): _Layout(tensor).key for tensor in given if tensor.is_meta}
        self._results: dict[Any, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` without the tracer if it has a meta tensor; the tracer sees its own 0-d size tensors."""
        kwargs = kwargs or {}
        key: Any
        try:
            key = id(func), self._key(args), self._key(tuple(kwargs.items()))
            known = self._results.get(key)
        except _Unknown:
            key = known = None
        if known is None:
            leaves = _pytree.arg_tree_leaves(*args, **kwargs)
            if not any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in leaves):
                return func(*args, **kwargs)
            known = _run_detached(func, args, kwargs)
            if key is not None:
                self._results[key] = known
        return known.fresh() if isinstance(known, _Layout) else _changed(known, _Layout, _Layout.fresh)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out the layer that keeps torch's compiler out, since nothing is compiled here: see `Tracer`."""
        return False

    def _key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What the layouts of results depend on."""
        key: list[Any] = []
        for value in values:
            if isinstance(value, Tensor):
                layout = getattr(value, "untraced", None)
                given = self._given.get(id(value)) if layout is None else layout.key
                if given is None:
                    raise _Unknown
                key += given
            elif isinstance(value, tuple | list):
                key.append(self._key(value))
            else:
                key.append((type(value), value))
        return tuple(key)


def _run_detached(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The results of an operation, of which each tensor is its layout."""
    with torch.no_grad(), _without_tracer():
        args = _changed(args, Tensor, Tensor.detach)
        kwargs = {name: _changed(value, Tensor, Tensor.detach) for name, value in kwargs.items()}
        if func is torch.ops.aten._convolution.default:  # it does not run on meta in torch 2.6
            func, args, kwargs = torch.ops.aten.convolution.default, args[:OF_CONVOLUTION], {}
        return _changed(run_on_meta(func, args, kwargs), Tensor, _Layout)


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A value, or a tuple or list of values, with those of a type changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)([_changed(each, kind, change) for each in value])
    return value


@contextmanager
def _without_tracer() -> Iterator[None]:
    """Switch the tracer off, which is left out of the dispatch of operations here."""
    state = torch._C._get_tracing_state()
    torch._C._dispatch_tls_set_dispatch_key_excluded("Tracer", False)  # otherwise its state cannot be set
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]
        torch._C._dispatch_tls_set_dispatch_key_excluded("Tracer", True)
