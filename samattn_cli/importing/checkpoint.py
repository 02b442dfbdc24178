"""The shapes of a checkpoint's weights. Nothing of it is run, and no weight is read.

A safetensors file says them in its header; PyTorch's own are read by torch with ``weights_only``, onto the meta device.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ImportFailedError
from ..files.foreign import SAFETENSORS

Shapes = dict[str, tuple[int, ...]]

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 << 20  # safetensors' own limit
HOLDERS = ("model", "state_dict", "module", "teacher")
"""Where training scripts put the weights in what they save."""
PARALLEL = "module."
"""Before each name where DataParallel held the model."""


def shapes_of(path: Path) -> Shapes:
    """Name to shape of each weight.

    Raises:
        ImportFailedError: if the file is damaged, or holds anything but weights.
    """
    try:
        shapes = _from_safetensors(path) if path.suffix == SAFETENSORS else _from_pytorch(path)
    except OSError as error:
        raise ImportFailedError(f"{path}: cannot be read: {error.strerror}") from None
    if all(name.startswith(PARALLEL) for name in shapes):
        return {name.removeprefix(PARALLEL): shape for name, shape in shapes.items()}
    return shapes


def _from_safetensors(path: Path) -> Shapes:
    """Source: the format's description, github.com/huggingface/safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or not 0 < length <= min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
            raise ImportFailedError(
                f"{path}: is truncated, or no safetensors file: its header would be {length:,} bytes"
            )
        header = file.read(length)
    try:
        weights = [(str(name), *_weight(entry)) for name, entry in _header(header).items()]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ImportFailedError(f"{path}: is damaged, or no safetensors file: its header is none") from None
    if not weights:
        raise ImportFailedError(f"{path}: holds no weights")
    if (missing := LENGTH_BYTES + length + max(end for *_, end in weights) - size) > 0:
        raise ImportFailedError(
            f"{path}: is truncated: the last {missing:,} bytes of its weights are missing"
        )
    return {name: shape for name, shape, _ in weights}


def _header(text: bytes) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError
    return {name: entry for name, entry in found.items() if name != "__metadata__"}


def _weight(entry: Mapping[str, Any]) -> tuple[tuple[int, ...], int]:
    """Its shape and where it ends, in bytes; the numbers between must be those of the shape."""
    shape, (start, end) = tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
    bits = re.search(r"\d+", entry["dtype"])  # F32, BF16, F8_E4M3; BOOL is of 8
    if (
        start < 0
        or min(shape, default=0) < 0
        or math.prod(shape) * int(bits[0] if bits else 8) != (end - start) * 8
    ):
        raise ValueError
    return shape, end


def _from_pytorch(path: Path) -> Shapes:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ImportFailedError(
            f"{path}: reading it takes torch, which is not installed: pip install 'samattn[torch]'"
        )
    from ..stack.checkpoint import entries_of

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
