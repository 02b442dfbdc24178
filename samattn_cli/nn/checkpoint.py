"""What a PyTorch checkpoint holds, its weights as shapes: no code in it is run, and no weight is read."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ImportFailedError

HARMLESS: list[Any] = [argparse.Namespace]
"""What training scripts save beside the weights (MAE's): it holds data alone."""


def entries_of(path: Path) -> Mapping[str, Any]:
    """The entries of a checkpoint, nested as in the file, each weight as its shape.

    Raises:
        ImportFailedError: if it is damaged, is no mapping, or would run code.
    """
    try:
        with torch.serialization.safe_globals(HARMLESS):
            loaded = _load(path)
    except pickle.UnpicklingError as error:
        raise ImportFailedError(_refusal(path, str(error))) from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes torch raise
        said = str(error).partition("\n")[0]
        raise ImportFailedError(f"{path}: is truncated, or no checkpoint of PyTorch: {said}") from None
    if not isinstance(loaded, Mapping):
        raise ImportFailedError(f"{path}: holds a {type(loaded).__name__}, not weights by name")
    return _shapes(loaded)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return torch.load(path, map_location="meta", weights_only=True, mmap=zipped)


def _refusal(path: Path, error: str) -> str:
    unsafe = re.search(r"(?:GLOBAL|class) (\S+)", error)
    if unsafe is None:
        return f"{path}: is truncated, or no checkpoint of PyTorch"
    return f"{path}: holds more than weights ({unsafe[1].strip('`')}), which samattn does not run"


def _shapes(entries: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        if isinstance(entry, Tensor):
            found[str(name)] = tuple(entry.shape)
        elif isinstance(entry, Mapping):
            found[str(name)] = _shapes(entry)
    return found
