"""Asks a child process for the trace of a target."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UsageError, did_you_mean
from ...reports.trace import Trace
from ..child import how_it_ended, run_child

MODULE = "samattn_cli.stack.tracing.child"
TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")
INPUT = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


def input_of(number: int, text: str) -> tuple[str, list[int], str]:
    """Name, shape and type of an input, from "1x3x1024x1024", "pixel_values=1x3x224x224" or "ids=1x77:int64".

    Raises:
        UsageError: if the text is not such a shape.
    """
    found = INPUT.fullmatch(text)
    shape = [int(size) for size in found["shape"].split("x")] if found else []
    if found is None or not all(shape):
        raise UsageError(
            "not-a-shape",
            f"--input {text}: is not a shape; write 1x3x1024x1024, pixel_values=1x3x1024x1024, or ids=1x77:int64",
        )
    dtype = found["dtype"] or ""
    if dtype and dtype not in TYPES:
        raise UsageError(
            "unknown-dtype", f"--input {text}: unknown type {dtype!r}{did_you_mean(dtype, TYPES)}"
        )
    return found["name"] or str(number), shape, dtype


def ask_trace(
    target: str,
    *,
    inputs: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    dtype: str = "",
    submodule: str = "",
    mode: str = "inference",
) -> Trace:
    """The trace of a target, from a process of its own.

    Raises:
        UsageError: if the target cannot be traced; the message says why, and which line of its own code is at fault.
    """
    request = {
        "target": target,
        "arguments": dict(arguments or {}),
        "inputs": [input_of(number, text) for number, text in enumerate(inputs)],
        "dtype": dtype,
        "submodule": submodule,
        "mode": mode,
        "folder": os.getcwd(),  # noqa: PTH109 - as `python -m` does
    }
    ended = run_child(request, module=MODULE)
    if ended.returncode != 0 or not ended.stdout:
        raise UsageError(
            "target-ends-process",
            f"{target}: it ends the interpreter, so that there is no trace: {how_it_ended(ended)}",
        )
    return _read(target, ended.stdout)


def _read(target: str, text: str) -> Trace:
    import json

    answer = json.loads(text)
    if "problem" in answer:
        raise UsageError(answer["code"], f"{target}: {answer['problem']}")
    from pydantic import TypeAdapter

    return TypeAdapter(Trace).validate_python(answer["trace"])
