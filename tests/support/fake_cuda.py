"""Where torch runs fake CUDA tensors without a GPU."""

from __future__ import annotations

import torch

from tests.support.torch_2_6 import IS_TORCH_2_6

ASKS_THE_DRIVER = IS_TORCH_2_6 and torch.version.cuda is not None and not torch.cuda.is_available()
"""CUDA builds of torch 2.6.0 ask the driver about fake tensors too, in convolutions, attention and `contiguous`."""
