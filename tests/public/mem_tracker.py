"""torch's MemTracker on fake CUDA tensors: the peak of an inference forward, and of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from samattn_cli.stack.tracing import as_cuda
from samattn_cli.stack.tracing.run import Inputs, tensors_in
from tests.support.ampere import ON_AMPERE
from tests.support.fake_cuda import ASKS_THE_DRIVER

DEVICE = "cuda" if torch.version.cuda and not ASKS_THE_DRIVER else "cpu"
"""MemTracker rounds to 512 bytes on CUDA alone, of which only a CUDA build has fake tensors."""


def tracked(module: nn.Module, inputs: Inputs, mode: str = "inference") -> int:
    """The peak of an inference forward, or of the forward and the backward of a step, without an optimizer."""
    library = as_cuda.install(ON_AMPERE, f"Autograd{DEVICE.upper()}")
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake: dict[int, Tensor] = {}
        for owner in module.modules():
            for table in (owner._parameters, owner._buffers):
                for name, tensor in table.items():
                    if tensor is not None:
                        table[name] = fake.setdefault(id(tensor), _faked(tensor))
        args, kwargs = (
            [_faked(x) for x in inputs.args],
            {name: _faked(x) for name, x in inputs.kwargs.items()},
        )
        tracker = MemTracker()
        tracker.track_external(module, *args, *kwargs.values())
        (_step if mode == "training" else _forward)(module, args, kwargs, tracker)
    del library
    snapshot = tracker.get_tracker_snapshot("peak")
    (total,) = (sizes["Total"] for device, sizes in snapshot.items() if device.type == DEVICE)
    return int(total)


def _forward(module: nn.Module, args: list[Tensor], kwargs: dict[str, Tensor], tracker: MemTracker) -> None:
    module.eval()
    with torch.no_grad(), tracker:
        module(*args, **kwargs)


def _step(module: nn.Module, args: list[Tensor], kwargs: dict[str, Tensor], tracker: MemTracker) -> None:
    module.train()
    with tracker:
        output = module(*args, **kwargs)
        outputs = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        torch.autograd.backward(outputs, list(map(torch.empty_like, outputs)))


def _faked(tensor: Tensor) -> Tensor:
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
    # frozen weights too get a gradient: MemTracker hooks those of each weight
    return nn.Parameter(made) if isinstance(tensor, nn.Parameter) else made
