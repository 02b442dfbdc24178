"""The shapes of a checkpoint's weights. No code in it is run, and no weight is read.

A safetensors file has them in its header. PyTorch's own files are read by torch with ``weights_only``, onto the meta device.
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
WEIGHTS_ENTRIES = ("model", "state_dict", "module", "teacher")
"""The entries under which training scripts save the weights."""
PARALLEL = "module."
"""Prefix of each name if DataParallel wrapped the model."""


def shapes_of(path: Path) -> Shapes:
    """Name to shape of each weight.

    Raises:
        ImportFailedError: if the file is damaged, or has anything but weights.
    """
    try:
        shapes = _from_safetensors(path) if path.suffix == SAFETENSORS else _from_pytorch(path)
    except OSError as error:
        raise ImportFailedError("cannot-read", f"{path}: cannot be read: {error.strerror}") from None
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
                "damaged-checkpoint",
                f"{path}: is truncated, or not a safetensors file: its header would be {length:,} bytes",
            )
        header = file.read(length)
    try:
        weights = [(str(name), *_weight(entry)) for name, entry in _header(header).items()]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ImportFailedError(
            "damaged-checkpoint",
            f"{path}: is damaged, or not a safetensors file: it does not begin with a safetensors header",
        ) from None
    if not weights:
        raise ImportFailedError("no-weights", f"{path}: has no weights")
    if (missing := LENGTH_BYTES + length + max(end for *_, end in weights) - size) > 0:
        raise ImportFailedError(
            "damaged-checkpoint",
            f"{path}: is truncated: the last {missing:,} bytes of its weights are missing",
        )
    return {name: shape for name, shape, _ in weights}


def _header(text: bytes) -> dict[str, Any]:
    header = json.loads(text)
    if not isinstance(header, dict):
        raise TypeError
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _weight(entry: Mapping[str, Any]) -> tuple[tuple[int, ...], int]:
    """A weight's shape, and where its data ends, in bytes. The data must have the size of the shape."""
    shape, (start, end) = tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
    bits = re.search(r"\d+", entry["dtype"])  # F32, BF16, F8_E4M3; BOOL has 8
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
            "not-installed",
            f"{path}: reading this file needs torch: pip install 'samattn[torch]'",
        )
    from ..stack.checkpoint import entries_of

    return _weights_in(path, entries_of(path))


def _weights_in(path: Path, entries: Mapping[str, Any]) -> Shapes:
    """The shapes, also if a training script has saved the weights under an entry of their own."""
    for key in WEIGHTS_ENTRIES:
        if isinstance(inner := entries.get(key), Mapping):
            return _weights_in(path, inner)
    shapes = {str(name): entry for name, entry in entries.items() if isinstance(entry, tuple)}
    if not shapes:
        raise ImportFailedError("no-weights", f"{path}: has no named weights")
    return shapes
