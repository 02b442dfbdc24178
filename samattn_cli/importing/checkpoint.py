"""The names and shapes of a checkpoint's weights. No code in it is run, and no weight is kept.

A safetensors file has them in its header. PyTorch's own files are read by torch with ``weights_only``, onto the meta device.
A plain pickle, such as those of detectron2's model zoo, is read by `files.pickled`. What kind of file it is shows in its first
bytes, unless its name ends in .safetensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ImportFailedError
from ..files.foreign import SAFETENSORS
from ..files.pickled import read_pickle

Shapes = dict[str, tuple[int, ...]]

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 << 20  # safetensors' own limit
MOST_DEPTH = 4
"""Of nested entries in which weights are looked for; a pickled object may contain itself."""

ZIPPED = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of PyTorch's files: a zip file; before torch 1.6, the pickle of a number."""
PICKLED = b"\x80"


def shapes_of(path: Path) -> Shapes:
    """Name to shape of each weight. A weight in a nested entry has the names of the entries before its own.

    Raises:
        ImportFailedError: if the file is damaged, or has no weights.
    """
    try:
        return _READERS[kind_of(path) or "torch"](path)
    except OSError as error:
        raise ImportFailedError("cannot-read", f"{path}: cannot be read: {error.strerror}") from None


def kind_of(path: Path) -> str:
    """The kind, safetensors, torch or pickle; empty if the file does not begin as one of them does."""
    if path.suffix == SAFETENSORS:
        return "safetensors"
    with path.open("rb") as file:
        first = file.read(len(LEGACY))
    if first.startswith((ZIPPED, LEGACY)):
        return "torch"
    if first.startswith(PICKLED):
        return "pickle"
    return "safetensors" if first[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" else ""


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
    from ..stack.checkpoint import read_checkpoint

    return _named(path, read_checkpoint(path))


def _from_pickle(path: Path) -> Shapes:
    return _named(path, read_pickle(path))


_READERS: dict[str, Callable[[Path], Shapes]] = {
    "safetensors": _from_safetensors,
    "torch": _from_pytorch,
    "pickle": _from_pickle,
}


def _named(path: Path, loaded: Any) -> Shapes:
    if not isinstance(loaded, Mapping):
        raise ImportFailedError(
            "no-weights", f"{path}: has a {type(loaded).__name__} instead of named weights"
        )
    shapes = dict(_flat(loaded, "", MOST_DEPTH))
    if not shapes:
        raise ImportFailedError("no-weights", f"{path}: has no named weights")
    return shapes


def _flat(entries: Mapping[Any, Any], before: str, depth: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name to shape of what has a shape, in this entry and in those within it."""
    for name, entry in entries.items():
        if isinstance(entry, Mapping):
            if depth:
                yield from _flat(entry, f"{before}{name}.", depth - 1)
        elif isinstance(shape := getattr(entry, "shape", None), tuple):
            yield f"{before}{name}", tuple(shape)
