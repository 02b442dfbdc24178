"""The entries of a PyTorch checkpoint, its weights as shapes. No code in it is run, and no weight is read."""

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
"""Classes that training scripts (MAE's) save next to the weights, and that have nothing but data."""


MOST_DEPTH = 4
"""Of nested entries in which weights are looked for; a pickled object may contain itself."""


def entries_of(path: Path) -> Mapping[str, Any]:
    """The entries of a checkpoint, nested as in the file, each weight as its shape.

    Raises:
        ImportFailedError: if it is damaged, is not a mapping, or would run code.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")
            loaded = _load(path)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from None
    except Exception as error:  # noqa: BLE001 - a damaged file may make torch raise any error
        raise _damaged(path, _first_sentence(str(error))) from None
    if not isinstance(loaded, Mapping):
        raise ImportFailedError(
            "no-weights", f"{path}: has a {type(loaded).__name__} instead of named weights"
        )
    return _shapes(loaded, MOST_DEPTH)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return torch.load(path, map_location="meta", weights_only=True, mmap=zipped)


def _first_sentence(text: str) -> str:
    """The first sentence of torch's message; the rest is advice that does not apply here."""
    return re.split(r"\.\s|\n", text, maxsplit=1)[0].rstrip(".")


def _refusal(path: Path, message: str) -> ImportFailedError:
    """The error for a file that torch refuses: it names a class that is not safe, or is damaged."""
    unsafe = re.search(r"(?:GLOBAL|class) (\S+)", message)
    if unsafe is None:
        return _damaged(path, "")
    name = unsafe[1].strip("`'")
    return ImportFailedError(
        "unsafe-checkpoint",
        f"{path}: contains objects other than weights ({name}), which samattn does not load: save only its state_dict",
    )


def _damaged(path: Path, why: str) -> ImportFailedError:
    return ImportFailedError(
        "damaged-checkpoint", f"{path}: is truncated, or not a PyTorch checkpoint{why and f': {why}'}"
    )


def _shapes(entries: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        if isinstance(entry, Tensor):
            found[str(name)] = tuple(entry.shape)
        elif isinstance(entry, Mapping) and depth:
            found[str(name)] = _shapes(entry, depth - 1)
    return found
