"""A checkpoint in several files, found by the index next to them, or by names like "model-00001-of-00002.safetensors".

Source: huggingface_hub, serialization/_base.py and _torch.py: the index's "weight_map" says in which file a weight is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import ImportFailedError
from ..files.foreign import PYTORCH, SAFETENSORS
from .checkpoint import Shapes, shapes_of
from .description import quoted

INDEX = ".index.json"
MOST_BYTES = 100 << 20
"""Of an index; those of real models have a few hundred kilobytes."""
MOST_NAME_BYTES = 255
"""Of the name of a file on common file systems."""
NAME = re.compile(r"(?P<before>.*?)(?P<number>\d{1,6})(?P<of>[-_]of[-_])(?P<many>\d{1,6})(?P<after>\.\w+)")


def parts_of(path: Path) -> list[Path]:
    """All files of a checkpoint; `path` is one of them, or the index.

    Raises:
        ImportFailedError: if one of them is missing, or the index is damaged.
    """
    index = path if path.name.endswith(INDEX) else _index_next_to(path)
    names = sorted(set(_map_of(index).values())) if index else _names_like(path)
    parts = [path.with_name(name) for name in names]
    for number, part in enumerate(parts, 1):
        if not part.is_file():
            raise _missing_part(path, parts, number)
    return parts


def shapes_in(parts: list[Path]) -> Shapes:
    """Name to shape of each weight of all parts.

    Raises:
        ImportFailedError: if a part is damaged, has a weight that another part has, or lacks one that the index lists.
    """
    found: Shapes = {}
    for part in parts:
        shapes = shapes_of(part)
        if twice := found.keys() & shapes.keys():
            raise ImportFailedError(
                "duplicate-weight", f"{part}: weight {quoted(min(twice))} is in another part too"
            )
        found |= shapes
    index = _index_next_to(parts[0]) if len(parts) > 1 else None
    for name, file in _map_of(index).items() if index else ():
        if name not in found:
            raise ImportFailedError(
                "missing-weight", f"{index}: lists weight {quoted(name)} in {file}, which does not have it"
            )
    return found


def _missing_part(path: Path, parts: list[Path], missing: int) -> ImportFailedError:
    what = "the index" if path not in parts else f"part {parts.index(path) + 1}"
    return ImportFailedError(
        "missing-part",
        f"{path}: is {what} of a checkpoint in {len(parts)} parts, but part {missing} ({parts[missing - 1].name}) is not "
        "next to it: put all parts into one folder",
    )


def _index_next_to(path: Path) -> Path | None:
    """The index that names this file, if there is one."""
    indexes = (index for index in sorted(path.parent.glob(f"*{INDEX}")) if index.is_file())
    return next((index for index in indexes if path.name in _files_of(index)), None)


def _files_of(index: Path) -> set[str]:
    """The files that an index names; none if it is damaged, since it may be that of another checkpoint."""
    try:
        return set(_map_of(index).values())
    except ImportFailedError:
        return set()


def _names_like(path: Path) -> list[str]:
    """The names of all parts, by the name of one; that name alone if it is not numbered."""
    match = NAME.fullmatch(path.name)
    if not match or not 1 <= int(match["number"]) <= int(match["many"]):
        return [path.name]
    digits = len(match["number"])
    return [
        f"{match['before']}{number:0{digits}}{match['of']}{match['many']}{match['after']}"
        for number in range(1, int(match["many"]) + 1)
    ]


def _map_of(index: Path) -> dict[str, str]:
    """The name of a weight to the name of its file, which is next to the index."""
    try:
        if index.stat().st_size > MOST_BYTES:
            raise ImportFailedError(
                "file-too-large", f"{index}: is not an index: it is larger than {MOST_BYTES >> 20} MiB"
            )
        entries = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImportFailedError("not-json", f"{index}: cannot be read as JSON: {error}") from None
    weight_map = entries.get("weight_map") if isinstance(entries, Mapping) else None
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise ImportFailedError(
            "not-an-index", f"{index}: is not the index of a checkpoint: it has no weight_map"
        )
    for name in weight_map.values():
        if not isinstance(name, str) or not _is_name(name):
            raise ImportFailedError(
                "not-a-part",
                f"{index}: weight_map names {quoted(name)}, which is not a checkpoint in the same folder",
            )
    return dict(weight_map)


def _is_name(name: str) -> bool:
    """Whether it can be the name of a checkpoint in the index's own folder."""
    is_file_name = name.isprintable() and Path(name).name == name
    fits = len(os.fsencode(name)) <= MOST_NAME_BYTES
    return is_file_name and fits and name.endswith((SAFETENSORS, *PYTORCH))
