"""Buffers that the CPU makes, as it does for an encoder that is built and then moved to a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def made_by_cpu(make: Callable[..., Tensor], *sizes: Any) -> Tensor:
    """A buffer for the device on which the encoder is built.

    A device that made it would have its intermediate results too, between weights, whose blocks then lie elsewhere. On the
    meta device nothing is computed. The device is asked of a tensor, because torch 2.6 names the CPU as its default in a
    ``with torch.device(...)`` too.
    """
    device = torch.empty(0).device
    if device.type == "meta":
        return make(*sizes)
    with torch.device("cpu"):
        return make(*sizes).to(device)
