"""Where torch runs fake CUDA tensors without a GPU."""

from __future__ import annotations

import torch

from samattn_cli.encoder.torch_versions import version_of

ASKS_THE_DRIVER = (
    torch.version.cuda is not None
    and version_of(torch.__version__) == (2, 6)
    and not torch.cuda.is_available()
)
"""CUDA builds of torch 2.6.0 ask the driver about fake tensors too, in convolutions, attention and `contiguous`."""
