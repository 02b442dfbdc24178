"""Other people's models by `samattn trace --device NAME` and by torch's own CUDA code on the dry device: which are equal.

    PYTHONPATH=. python -m tests.public.traced_dry a100_80 swin sam   # a device, and words of names; without words, all models

Needs torch's CUDA build. Bytes allocated and reserved, of an inference forward and of a training step with AdamW. A dry run is a fork.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch

from samattn_cli.device.load import load_device
from samattn_cli.device.model import Device
from samattn_cli.stack.dynamo import without_dynamo
from samattn_cli.stack.tracing import dry
from samattn_cli.stack.tracing.load import Target, build, on_device, target_of
from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.in_memory import in_memory
from samattn_cli.studies.traced.kernels import kernel_of
from samattn_cli.studies.traced.kernels import target_of as aimed
from samattn_cli.studies.traced.passes import TracedPasses
from tests.public.traced import on_the_dry_device
from tests.public.traced_models import Model, models, module_of

DTYPES = ("float32", "float16")


class Used(NamedTuple):
    """Bytes that the allocator allocates and reserves."""

    allocated: int
    reserved: int


def replayed(model: Model, mode: str, dtype: str, device: Device) -> Used:
    module, shapes = module_of(model)
    module = on_device(module, "meta", getattr(torch, dtype))
    inputs = Inputs({name: (shape, dtype) for name, shape in shapes.items()}, "meta")
    kernels = kernel_of(aimed(device, has_cudnn=False))
    with without_dynamo():
        passes = TracedPasses(trace(module, inputs, mode, [], kernels))
    used = in_memory(passes, device)
    assert used is not None
    return Used(used.allocated, used.reserved)


def ran(model: Model, mode: str, dtype: str) -> Used:
    dry.start()
    target = target_of(model.target, {}) if isinstance(model.target, str) else Target(model.target)
    module = on_device(build(target, []), dry.CUDA, getattr(torch, dtype))
    shapes = {name: (shape, dtype) for name, shape in (model.shapes or target.inputs or {}).items()}
    used = dry.dry_run(module, Inputs(shapes, dry.CUDA), mode, "adamw")
    return Used(used.allocated_bytes, used.reserved_bytes)


def forked(do: Callable[[], Used]) -> Used | str:
    """What a fork of this process returns, or why it does not."""
    end, answers = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(answers, _said(do).encode())
        os._exit(0)
    os.close(answers)
    with os.fdopen(end) as stream:
        text = stream.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    numbers = text.split()
    if ended != 0:
        return f"the process ended with {ended}"
    return Used(*map(int, numbers)) if all(map(str.isdecimal, numbers)) else text


def _said(do: Callable[[], Used]) -> str:
    try:
        return "{} {}".format(*do())
    except Exception as error:  # noqa: BLE001 - the table says so
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:100]}"


def rows(model: Model, device: Device) -> None:
    for dtype in DTYPES:
        for mode in ("inference", "training"):
            ours = forked(lambda m=mode, d=dtype: replayed(model, m, d, device))
            theirs = forked(lambda m=mode, d=dtype: ran(model, m, d))
            pairs = (
                zip(ours, theirs, strict=True)
                if not isinstance(ours, str) and not isinstance(theirs, str)
                else ()
            )
            words = [
                f"{one / 2**20:,.2f} | {'equal' if one == other else f'{other - one:+,} B'}"
                for one, other in pairs
            ]
            print(
                f"| {model.name} | {mode} | {dtype} | {' | '.join(words) or f'{ours} / {theirs}'} |",
                flush=True,
            )


def main(name: str, *words: str) -> None:
    on_the_dry_device("tests.public.traced_dry", [name, *words], name)
    device = load_device(name, "")
    print("| model | mode | type | allocated, MiB | dry | reserved, MiB | dry |", flush=True)
    print("| :-- | :-- | :-- | --: | --: | --: | --: |", flush=True)
    for model in models(list(words)):
        rows(model, device)


if __name__ == "__main__":
    main(*sys.argv[1:])
