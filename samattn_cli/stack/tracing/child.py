"""The process that traces one target: a request as a line of JSON on standard input, an answer as JSON on standard output.

What the target prints goes to standard error. A target that ends this process ends nothing else.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from io import StringIO
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from ...errors import SamattnError
from ...reports.trace import DryRun, Trace
from ..child import _end_with_input
from ..dynamo import without_dynamo
from .as_cuda import KernelOf
from .autocast import watch
from .checkout import Checkout
from .faults import fault_of
from .load import Target, about_meta, build, make_importable, on_device, target_of
from .run import Inputs, trace
from .signatures import takes

Value = TypeVar("Value")


class _FaultError(Exception):
    """Something that the target does is wrong."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def main(kernels: Callable[[dict[str, Any]], KernelOf]) -> None:
    """Answer the request; end at once if the parent process ends. `kernels` chooses attention kernels, as the request has it."""
    request = json.loads(sys.stdin.readline())
    Thread(target=_end_with_input, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdin = StringIO()  # a target that asks for input would wait for ever
    os.chdir(request["folder"])
    make_importable(request["folder"])
    if request.get("checkout"):
        Checkout(request["checkout"], request["work_tree"]).use()
    with answers:
        answers.write(answer(request, kernels(request)))
        answers.flush()
    os._exit(0)  # threads of the target do not keep this process


def answer(request: dict[str, Any], kernel_of: KernelOf) -> str:
    """The trace, or what is wrong, as JSON."""
    from pydantic import TypeAdapter

    watch()
    try:
        if request["dry"]:
            return json.dumps({"dry": asdict(_run_dry(request))})
        with without_dynamo():
            traced = _traced(request, kernel_of)
        if request.get("checkout"):
            checkout = Checkout(request["checkout"], request["work_tree"])
            _attempt(lambda: checkout.check(request["target"]), "", "not-of-base")
    except _FaultError as fault:
        return json.dumps({"code": fault.code, "problem": fault.text})
    return json.dumps({"trace": "@"}).replace('"@"', TypeAdapter(Trace).dump_json(traced).decode())


class _Ready(NamedTuple):
    """A target and its module on a device, with the shapes and types of its inputs."""

    target: Target
    module: nn.Module
    inputs: dict[str, tuple[tuple[int, ...], str]]


def _ready(request: dict[str, Any], device: str, notes: list[str]) -> _Ready:
    target = _attempt(
        lambda: target_of(request["target"], request["arguments"]), "importing it", "target-not-imported"
    )
    module = _attempt(lambda: build(target, notes), "building it", "target-not-built")
    part = _attempt(lambda: _submodule(module, request["submodule"]), "", "no-such-submodule")
    shapes = _attempt(lambda: _shapes(request, target), "", "input-needed")
    dtype = getattr(torch, request["dtype"]) if request["dtype"] else None
    moved = _attempt(lambda: on_device(part, device, dtype), "moving it", "target-not-built")
    return _Ready(target, moved, _typed(moved, shapes, request["dtype"]))


def _run_dry(request: dict[str, Any]) -> DryRun:
    """A run of torch's CUDA code."""
    from . import dry

    _attempt(dry.start, "", "device-does-not-run")
    ready = _ready(request, dry.CUDA, [])
    return _attempt(
        lambda: dry.dry_run(
            ready.module, Inputs(ready.inputs, dry.CUDA), request["mode"], request["optimizer"]
        ),
        "its forward fails",
        "forward-fails",
    )


def _traced(request: dict[str, Any], kernel_of: KernelOf) -> Trace:
    notes: list[str] = []
    target, moved, typed = _ready(request, "meta", notes)
    try:
        return trace(moved, Inputs(typed, "meta"), request["mode"], notes, kernel_of)
    except (Exception, SystemExit) as error:
        if not about_meta(error):
            code, text = fault_of(error, "its forward fails", "forward-fails")
            raise _FaultError(code, text + _inputs_of(moved, typed, error)) from error
        _code, text = fault_of(error, "it needs numbers", "needs-numbers")
    return _with_numbers(request, target, typed, text, notes, kernel_of)


def _inputs_of(module: nn.Module, given: dict[str, Any], error: BaseException) -> str:
    """What a forward takes, if it does not take what was given; or that an image was given without a batch; otherwise ""."""
    if not isinstance(error, TypeError):
        return _without_batch([shape for shape, _ in given.values()])
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # of compiled code
        return ""
    named = {name: None for name in given if not name.isdecimal()}
    try:
        signature.bind(*[None] * (len(given) - len(named)), **named)
    except TypeError:
        return f"; it takes {takes(signature) or 'no input'}: --input NAME=SHAPE gives one by its name"
    return ""


def _without_batch(shapes: list[tuple[int, ...]]) -> str:
    """How to give an image with its batch, if the only input is an image alone; otherwise ""."""
    if len(shapes) != 1 or len(shapes[0]) != len("CHW") or shapes[0][0] not in {1, 3}:
        return ""
    return f"; an image with its batch is --input {'x'.join(map(str, (1, *shapes[0])))}"


def _with_numbers(
    request: dict[str, Any],
    target: Target,
    typed: dict[str, Any],
    reason: str,
    notes: list[str],
    kernel_of: KernelOf,
) -> Trace:
    """The trace of the same module with real tensors on the CPU."""
    dtype = getattr(torch, request["dtype"]) if request["dtype"] else None
    notes.append(f"traced with real tensors on the CPU, with the CPU's kernels, because {reason}")
    module = _attempt(target.build, "building it", "target-not-built")
    part = on_device(_submodule(module, request["submodule"]), "cpu", dtype)
    return _attempt(
        lambda: trace(part, Inputs(typed, "cpu"), request["mode"], notes, kernel_of),
        "its forward fails",
        "forward-fails",
    )


def _attempt(do: Callable[[], Value], doing: str, code: str) -> Value:
    """What `do` returns.

    Raises:
        _FaultError: with a message for the user, for any exception.
    """
    try:
        return do()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _FaultError(*fault_of(error, doing, code)) from error


def _submodule(module: nn.Module, name: str) -> nn.Module:
    if not name:
        return module
    try:
        return module.get_submodule(name)
    except AttributeError:
        from ...errors import did_you_mean

        names = [inner for inner, _ in module.named_modules() if inner]
        first = [inner for inner in names if "." not in inner]
        hint = did_you_mean(name, names) or f"; it has {', '.join(first)}"
        raise SamattnError("no-such-submodule", f"it has no submodule {name}{hint}") from None


def _shapes(request: dict[str, Any], target: Target) -> dict[str, tuple[list[int], str]]:
    if request["inputs"]:
        return {name: (shape, dtype) for name, shape, dtype in request["inputs"]}
    if target.inputs is None or request["submodule"]:
        raise SamattnError("input-needed", "which input does it take? Give its shape: --input 1x3x1024x1024")
    return {name: (list(shape), "") for name, shape in target.inputs.items()}


def _typed(module: nn.Module, shapes: dict[str, Any], dtype: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """The inputs, those without a type of their own in that of the weights."""
    weights = (str(w.dtype).removeprefix("torch.") for w in module.parameters() if w.is_floating_point())
    usual = dtype or next(weights, "float32")
    return {name: (tuple(shape), own or usual) for name, (shape, own) in shapes.items()}
