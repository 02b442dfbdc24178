"""DistributedDataParallel, ZeroRedundancyOptimizer and FSDP2 in one process: the memory of rank 0 of a run with any number of them.

The process group is torch's fake one, which exchanges nothing, so that no other process and no NCCL is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from ..encoder.model import RunConfig
from ..errors import DeviceError
from .fold import CONTAINER

RUNS_FSDP_ON_CPU = hasattr(torch.cpu.Stream, "record_event")
"""Whether FSDP2 of the installed torch runs on a CPU. That of torch 2.6.0 asks CPU streams for an event, which they do not have."""


def in_ddp(model: nn.Module, device: str, run: RunConfig) -> nn.Module:
    """`model` in DistributedDataParallel, with torch's default buckets.

    Raises:
        DeviceError: if torch is built without torch.distributed.
    """
    join_fake_group(run)
    from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
    from torch.nn.parallel import DistributedDataParallel

    devices: Any = None if device in {"cpu", "meta"} else [device]
    wrapped = DistributedDataParallel(
        model, device_ids=devices, gradient_as_bucket_view=run.gradient_as_bucket_view
    )
    wrapped.register_comm_hook(None, noop_hook)  # the result of the fake group's own all-reduce has no value
    return wrapped


def shared_out(weights: list[nn.Parameter], make: Callable[..., Optimizer], run: RunConfig) -> Optimizer:
    """An optimizer whose state is shared out among ranks: torch's ZeroRedundancyOptimizer around `make`.

    Raises:
        DeviceError: if torch is built without torch.distributed.
    """
    join_fake_group(run)
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(weights, optimizer_class=make)  # type: ignore[arg-type]


def shard(model: nn.Module, device: str, run: RunConfig) -> None:
    """Apply FSDP2's fully_shard to each block of `model`, and then to the whole of it, in place.

    Buffers get the type that FSDP2 computes in, which its policy leaves to the caller.

    Raises:
        DeviceError: if torch is built without torch.distributed, or its FSDP2 does not run on a CPU and `device` is one.
    """
    kind = torch.device(device).type
    if kind == "cpu" and not RUNS_FSDP_ON_CPU:
        text = f"run.parallel {run.parallel} does not run on a CPU in torch {torch.__version__}: install a later torch"
        raise DeviceError("no-fsdp-on-cpu", text)
    join_fake_group(run)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    about: dict[str, Any] = {
        "mesh": init_device_mesh(kind, (run.gpus,)),
        "mp_policy": MixedPrecisionPolicy(_dtype(run.param_dtype), _dtype(run.reduce_dtype)),
        "offload_policy": CPUOffloadPolicy() if run.cpu_offload else OffloadPolicy(),
    }
    for block in model.get_submodule(CONTAINER).children():
        fully_shard(block, reshard_after_forward=run.reshards, **about)
    fully_shard(model, **about)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(_dtype(run.computes_in)))


def join_fake_group(run: RunConfig) -> None:
    """Become rank 0 of as many ranks as the run has GPUs.

    Raises:
        DeviceError: if torch is built without torch.distributed.
    """
    if not dist.is_available():
        text = f"run.parallel {run.parallel} needs a torch that is built with torch.distributed"
        raise DeviceError("no-distributed", text)
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized() and dist.get_world_size() != run.gpus:
        dist.destroy_process_group()  # of another case in this process
    if not dist.is_initialized():
        dist.init_process_group("fake", rank=0, world_size=run.gpus, store=FakeStore())


def _dtype(name: str) -> torch.dtype | None:
    return None if name == "none" else getattr(torch, name)
