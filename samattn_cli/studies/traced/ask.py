"""Asks a child process for the trace of a target."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...errors import UsageError, code_of, did_you_mean
from ...reports.trace import DryRun, Trace
from ...tape.sdpa_call import AMPERE, Target
from ..child import how_it_ended, run_child

if TYPE_CHECKING:
    from ...device.model import Device

MODULE = "samattn_cli.studies.traced.child"
TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")
INPUT = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


def input_of(number: int, text: str) -> tuple[str, list[int], str]:
    """Name, shape and type of an input, from "1x3x1024x1024", "pixel_values=1x3x224x224" or "ids=1x77:int64".

    Raises:
        UsageError: if the text is not such a shape; the message is to follow the text.
    """
    found = INPUT.fullmatch(text)
    shape = [int(size) for size in found["shape"].split("x")] if found else []
    if found is None or not all(shape):
        raise UsageError(
            "not-a-shape",
            f"is not a shape; write {_as_shape(text) or '1x3x1024x1024, pixel_values=1x3x1024x1024, or ids=1x77:int64'}",
        )
    dtype = found["dtype"] or ""
    if dtype and dtype not in TYPES:
        raise UsageError("unknown-dtype", f"unknown type {dtype!r}{did_you_mean(dtype, TYPES)}")
    return found["name"] or str(number), shape, dtype


def _as_shape(text: str) -> str:
    """A shape that was written in another way, such as "(1, 3, 512, 512)" or "1,3,512,512"; "" if it is not one."""
    name, sign, shape = text.rpartition("=")
    sizes = re.fullmatch(r"[(\[]?\s*(\d+(?:\s*[,*X×\s]\s*\d+)*)\s*[)\]]?", shape.strip())
    return f"{name}{sign}{'x'.join(re.findall(r'[0-9]+', sizes[1]))}" if sizes else ""


@dataclass(frozen=True)
class Asked:
    """What is to be traced, and how: see `trace`."""

    target: str
    inputs: Sequence[str] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = ""
    submodule: str = ""
    mode: str = "inference"
    optimizer: str = "adamw"
    folder: str = ""
    """The working folder of the process, from which modules and files are found; "" for that of this process."""
    checkout: str = ""
    """The root of a checkout from which modules are found in place of `work_tree`; `folder` is in it. "" for none."""
    work_tree: str = ""

    @property
    def name(self) -> str:
        """The target and its part, as reports call it."""
        return ".".join(filter(None, (self.target, self.submodule)))

    @property
    def request(self) -> dict[str, Any]:
        """What the child process is asked."""
        return vars(self) | {
            "arguments": dict(self.arguments),
            "inputs": [_option(number, text) for number, text in enumerate(self.inputs)],
            "folder": os.path.abspath(self.folder),  # noqa: PTH100 - links stay, as `python -m` has them
        }


def _option(number: int, text: str) -> tuple[str, list[int], str]:
    try:
        return input_of(number, text)
    except UsageError as error:
        raise UsageError(code_of(error.message), f"--input {text}: {error.message}") from None


def ask_trace(asked: Asked, target: Target) -> Trace:
    """The trace of a target, with the attention kernels of a kind of device, from a process of its own.

    Raises:
        UsageError: if the target cannot be traced; the message says why, and which line of its own code is at fault.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(Trace).validate_python(_answer(asked, _aimed(target, dry=False), {})["trace"])


def ask_dry_run(asked: Asked, device: Device) -> DryRun:
    """The memory of a target by torch's CUDA code, as if on a device.

    Raises:
        UsageError: as `ask_trace`, or if torch has no CUDA.
        DeviceError: if a dry run of the device is not possible here.
    """
    from ...device.dry.environment import environment

    return DryRun(**_answer(asked, _aimed(AMPERE, dry=True), environment(device))["dry"])


def _aimed(target: Target, *, dry: bool) -> dict[str, Any]:
    return {"dry": dry, "capability": target.capability, "has_cudnn": target.has_cudnn}


def _answer(asked: Asked, more: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    target = asked.target
    if find_spec("torch") is None:
        raise UsageError("not-installed", f"{target}: tracing needs torch: pip install 'samattn[torch]'")
    ended = run_child({**asked.request, **more}, variables, MODULE)
    if ended.returncode != 0 or not ended.stdout:
        raise UsageError(
            "target-ends-process",
            f"{target}: it ends the interpreter, so that there is no trace: {how_it_ended(ended)}",
        )
    answer: dict[str, Any] = json.loads(ended.stdout)
    if "problem" in answer:
        raise UsageError(answer["code"], f"{target}: {answer['problem']}")
    return answer
