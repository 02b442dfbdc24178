"""The shapes of a checkpoint's weights. Nothing of it is run, and no weight is read.

A safetensors file says them in its header; PyTorch's own are read by torch with ``weights_only``, onto the meta device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ImportFailedError

Shapes = dict[str, tuple[int, ...]]

SAFETENSORS = ".safetensors"
PYTORCH = (".pth", ".pt", ".bin", ".ckpt")
LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 << 20  # safetensors' own limit
HOLDERS = ("model", "state_dict", "module", "teacher")
"""Where training scripts put the weights in what they save."""


def shapes_of(path: Path) -> Shapes:
    """Name to shape of each weight.

    Raises:
        ImportFailedError: if the file is damaged, or holds anything but weights.
    """
    return _from_safetensors(path) if path.suffix == SAFETENSORS else _from_pytorch(path)


def _from_safetensors(path: Path) -> Shapes:
    """Source: the format's description, github.com/huggingface/safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or not 0 < length <= min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
            raise ImportFailedError(
                f"{path}: is truncated, or no safetensors file: its header would be {length:,} bytes"
            )
        try:
            header = json.loads(file.read(length))
            weights = {name: entry for name, entry in header.items() if name != "__metadata__"}
            shapes = {name: tuple(map(int, entry["shape"])) for name, entry in weights.items()}
            end = max((int(entry["data_offsets"][1]) for entry in weights.values()), default=0)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ImportFailedError(f"{path}: its header cannot be read: {error}") from None
    if size < LENGTH_BYTES + length + end:
        missing = LENGTH_BYTES + length + end - size
        raise ImportFailedError(
            f"{path}: is truncated: the last {missing:,} bytes of its weights are missing"
        )
    return shapes


def _from_pytorch(path: Path) -> Shapes:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ImportFailedError(
            f"{path}: reading it takes torch, which is not installed: pip install 'samattn[torch]'"
        )
    from ..nn.checkpoint import entries_of

    return _weights_in(path, entries_of(path))


def _weights_in(path: Path, entries: Mapping[str, Any]) -> Shapes:
    """The shapes, also where a training script has put the weights into an entry of their own."""
    for holder in HOLDERS:
        if isinstance(held := entries.get(holder), Mapping):
            return _weights_in(path, held)
    shapes = {str(name): entry for name, entry in entries.items() if isinstance(entry, tuple)}
    if not shapes:
        raise ImportFailedError(f"{path}: holds no weights by name")
    return shapes
