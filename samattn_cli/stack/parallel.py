"""DistributedDataParallel in one process: the memory of one rank of a run with any number of them.

The process group is torch's fake one, which exchanges nothing, so that no other process and no NCCL is needed.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import nn

from ..encoder.model import RunConfig
from ..errors import DeviceError


def in_ddp(model: nn.Module, device: str, run: RunConfig) -> nn.Module:
    """`model` in DistributedDataParallel, with torch's default buckets.

    Raises:
        DeviceError: if torch is built without torch.distributed.
    """
    if not dist.is_available():
        raise DeviceError(
            "no-distributed", "run.parallel ddp needs a torch that is built with torch.distributed"
        )
    from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
    from torch.nn.parallel import DistributedDataParallel
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if not dist.is_initialized():
        dist.init_process_group("fake", rank=0, world_size=1, store=FakeStore())
    devices: Any = None if device in {"cpu", "meta"} else [device]
    wrapped = DistributedDataParallel(
        model, device_ids=devices, gradient_as_bucket_view=run.gradient_as_bucket_view
    )
    wrapped.register_comm_hook(None, noop_hook)  # the result of the fake group's own all-reduce has no value
    return wrapped
