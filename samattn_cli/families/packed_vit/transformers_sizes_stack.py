"""Sizes of images and ends of sequences on the host, where transformers' packed encoders read them.

Source: transformers 5.23.0, vision_utils.py. On the meta device nothing can be read, so what the models read is kept on the
host next to the tensors of the device.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...encoder.model import EncoderConfig
from .words import SIDE

ON_HOST = torch.device("cpu")
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


class Ends:
    """Ends of sequences on the device, whose numbers are known on the host: on the meta device nothing can be read."""

    def __init__(self, on_device: Tensor, on_host: Tensor) -> None:
        self.on_device, self.on_host = on_device, on_host

    def __getitem__(self, at: slice) -> Ends:
        return Ends(self.on_device[at], self.on_host[at])

    def __sub__(self, other: Ends) -> Ends:
        return Ends(self.on_device - other.on_device, self.on_host - other.on_host)

    def tolist(self) -> list[int]:
        """The numbers."""
        return cast("list[int]", self.on_host.tolist())

    def to(self, device: torch.device) -> Ends:
        """Copied to a device."""
        return Ends(self.on_host.to(device), self.on_host)


class WindowEnds(Ends):
    """Ends of windows that are on the host alone as yet."""

    def __init__(self, on_host: Tensor) -> None:
        super().__init__(on_host, on_host)

    def numel(self) -> int:
        """How many there are."""
        return self.on_host.numel()


def sizes(config: EncoderConfig, *, halvings: int = 0) -> Tensor:
    """(rows, columns) of patches of each image, on the host, after mergers."""
    grid = [side // SIDE**halvings for side in config.grid]
    return torch.tensor([grid] * config.run.batch_size, device=ON_HOST)


def grids(config: EncoderConfig) -> Tensor:
    """(frames, rows, columns) of patches of each image, on the host."""
    return F.pad(sizes(config), (1, 0), value=1)


def ends_on_host(target_sizes: Tensor) -> Tensor:
    """The model's sums of tokens, with a 0 in front."""
    return F.pad(torch.cumsum(target_sizes[:, 0] * target_sizes[:, 1], dim=0, dtype=torch.int32), (1, 0))


def ends_on_device(target_sizes: Tensor, device: torch.device) -> Tensor:
    """The same, as the model makes them."""
    return F.pad(
        torch.cumsum(target_sizes[:, 0] * target_sizes[:, 1], dim=0, dtype=torch.int32).to(device), (1, 0)
    )
