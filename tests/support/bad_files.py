"""Files that `samattn import` must refuse: each function writes one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from tests.support.checkpoints import expanded, write_safetensors


class Hostile:
    """What runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def hostile(path: Path) -> None:
    torch.save({"model": Hostile(path.parent / "marker")}, path)


def hostile_old(path: Path) -> None:
    torch.save({"model": Hostile(path.parent / "marker")}, path, _use_new_zipfile_serialization=False)


def hostile_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Hostile(path.parent / "marker")))


def a_model(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def of_itself(path: Path) -> None:
    entries: dict[str, Any] = {}
    entries["model"] = entries
    torch.save(entries, path)


def cut(path: Path) -> None:
    torch.save(expanded({"a": (3,)}), path)
    path.write_bytes(path.read_bytes()[:-60])


def cut_old(path: Path) -> None:
    torch.save(expanded({"a": (3,)}), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-10])


def a_list(path: Path) -> None:
    torch.save([1], path)


def of_another(path: Path) -> None:
    torch.save(expanded({"conv1.weight": (64, 3, 7, 7)}), path)


def cut_safetensors(path: Path) -> None:
    write_safetensors(path, {"a": (3,)})
    path.write_bytes(path.read_bytes()[:-4])


def lying_safetensors(path: Path) -> None:
    write_safetensors(path, {"a": (3,)})
    path.write_bytes(path.read_bytes().replace(b'"shape": [3]', b'"shape": [4]'))


def deep_safetensors(path: Path) -> None:
    path.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5)
