"""Verdicts of the cross-check that `analyze` keeps in the user's cache, so that it runs once for a config.

Only "exact" is kept. A verdict is used for the same config, checked by the same code of samattn with the same versions of
Python, torch, fvcore and the libraries whose models run; not where families from outside the package are added. A file is
written whole or not at all; one that cannot be read, or that says anything else, is not used.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..encoder.model import EncoderConfig
from ..encoder.registry import homes
from ..files.cache import cache_folder
from ..records import replace
from ..verdicts import Check, CrossCheck
from ..version import __version__
from .files import replace_file

VARIABLE = "SAMATTN_CACHE"
"""The folder of the cache; nothing is kept if it is empty."""
LIBRARIES = ("torch", "fvcore", "transformers", "timm", "torchvision")
NEEDED = ("torch", "fvcore")
MOST_FILES = 200
"""Verdicts that are kept; the oldest are removed."""


def kept(config: EncoderConfig) -> CrossCheck | None:
    """The verdict that was kept for a config, if there is one."""
    path, made_of = _path(config), _made_of(config)
    if path is None or made_of is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        data = json.loads(path.read_bytes())
        if data["made_of"] == made_of:
            found = _crosscheck(data)
            return found if found.status == "exact" else None
    return None


def keep(config: EncoderConfig, crosscheck: CrossCheck) -> None:
    """Keep a verdict that is exact; if that is not possible, nothing is kept."""
    path, made_of = _path(config), _made_of(config)
    if path is None or made_of is None or crosscheck.status != "exact":
        return
    checks = {
        name: [check.status, check.compared, check.total, check.route, check.reason]
        for name, check in crosscheck.checks.items()
    }
    data = {"made_of": made_of, "checks": checks, "layers_run": crosscheck.layers_run}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(data).encode())
        _remove_oldest(path.parent)


def _crosscheck(data: dict[str, Any]) -> CrossCheck:
    checks = {name: _check(*values) for name, values in data["checks"].items()}
    return CrossCheck(**checks, layers_run=int(data["layers_run"]))


def _check(status: Any, compared: Any, total: Any, route: Any, reason: Any) -> Check:
    are_numbers = isinstance(compared, int) and (total is None or isinstance(total, int))
    if not (are_numbers and isinstance(reason, str)):
        raise ValueError
    return Check(status, compared, total, route, reason)


def _remove_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in files[:-MOST_FILES]:
        path.unlink(missing_ok=True)


def _path(config: EncoderConfig) -> Path | None:
    """The file of a config; None if nothing is kept."""
    folder = os.environ.get(VARIABLE)
    if folder == "" or any(home.origin for home in homes()):
        return None
    from hashlib import sha256  # not at start-up: it loads OpenSSL

    root = Path(folder) if folder else cache_folder()
    return root and root / "verdicts" / f"{sha256(_words_of(config).encode()).hexdigest()[:32]}.json"


def _words_of(config: EncoderConfig) -> str:
    """All keys of a config but its name and its description."""
    return repr(replace(config, name="", description=""))


def _made_of(config: EncoderConfig) -> list[str] | None:
    """Everything that a verdict depends on; None if a version that it needs is not known."""
    versions = {name: _version(name) for name in LIBRARIES}
    if not all(versions[name] for name in NEEDED):
        return None
    libraries = (f"{name} {version}" for name, version in versions.items())
    return [_words_of(config), __version__, _code(), sys.version, *libraries]


def _version(name: str) -> str:
    """The installed version of a library; "" if it is not installed, or has no metadata."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _code() -> str:
    """What tells this code from other code of the same version: the size and the time of each of its files."""
    from zlib import crc32

    return f"{crc32(repr(sorted(_files(Path(__file__).parent.parent))).encode()):08x}"


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(Path(entry.path))
        elif entry.name.endswith(".py"):
            status = entry.stat()
            yield entry.path, status.st_size, status.st_mtime_ns
