"""What a PyTorch checkpoint holds, its weights as shapes: no code in it is run, and no weight is read."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ImportFailedError

HARMLESS: list[Any] = [argparse.Namespace]
"""What training scripts save beside the weights (MAE's): it holds data alone."""


MOST_DEPTH = 4
"""Of entries within entries in which weights are looked for; what is pickled may hold itself."""


def entries_of(path: Path) -> Mapping[str, Any]:
    """The entries of a checkpoint, nested as in the file, each weight as its shape.

    Raises:
        ImportFailedError: if it is damaged, is no mapping, or would run code.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")
            loaded = _load(path)
    except pickle.UnpicklingError as error:
        raise ImportFailedError(_refusal(path, str(error))) from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes torch raise
        raise ImportFailedError(_refusal(path, "", _first_sentence(str(error)))) from None
    if not isinstance(loaded, Mapping):
        raise ImportFailedError(f"{path}: holds a {type(loaded).__name__}, not weights by name")
    return _shapes(loaded, MOST_DEPTH)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return torch.load(path, map_location="meta", weights_only=True, mmap=zipped)


def _first_sentence(text: str) -> str:
    """What went wrong: torch goes on about what it may mean."""
    return re.split(r"\.\s|\n", text, maxsplit=1)[0].rstrip(".")


def _refusal(path: Path, refused: str, broken: str = "") -> str:
    """What is wrong with it: a class that torch `refused`, or what was `broken`."""
    unsafe = re.search(r"(?:GLOBAL|class) (\S+)", refused)
    if unsafe is None:
        return f"{path}: is truncated, or no checkpoint of PyTorch{broken and f': {broken}'}"
    held = unsafe[1].strip("`'")
    return f"{path}: holds more than weights ({held}), which samattn does not run: save its state_dict alone"


def _shapes(entries: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        if isinstance(entry, Tensor):
            found[str(name)] = tuple(entry.shape)
        elif isinstance(entry, Mapping) and depth:
            found[str(name)] = _shapes(entry, depth - 1)
    return found
