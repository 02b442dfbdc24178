"""What a PyTorch checkpoint has, its weights on the meta device. No code in it is run, and no weight is read."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from ..files.pickled import ARRAYS, DICTS, INERT, Inert, damaged, refusal

HARMLESS: list[Any] = [
    *((Inert, name) for name in INERT),
    *((made, name) for name, made in (ARRAYS | DICTS).items()),
]
"""Names that torch may read next to the weights, each as an object that does nothing."""


def read_checkpoint(path: Path) -> Any:
    """What a file of `torch.save` has, nested as in the file.

    Raises:
        ImportFailedError: if it is damaged, or would run code.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")
            return _load(path)
    except pickle.UnpicklingError as error:
        raise refusal(path, str(error)) from None
    except Exception as error:  # noqa: BLE001 - a damaged file may make torch raise any error
        raise damaged(path, str(error)) from None


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return torch.load(path, map_location="meta", weights_only=True, mmap=zipped)
