"""Builds the library of the dry device once, in the user's cache, for each version of source, torch and CUDA headers."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from ...errors import DeviceError
from ...files.cache import cache_folder

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "stub.c"
SHIM = HERE / "shim"
LIBRARY = "libsamattn_dry.so"
LINKS = ("libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1")  # triton of torch 2.6 links with -lcuda
"""Names under which torch and triton look for the driver's libraries."""

COMPILERS = ("cc", "gcc", "clang")
INSTALL_CUDA = "pip install torch from PyPI brings it on Linux x86_64 (about 5.5 GB)"


def library() -> Path:
    """The library, built if it is not in the cache.

    Raises:
        DeviceError: if this machine cannot build or run it; the message says what is missing.
    """
    headers = cuda_headers()
    place = _cache() / _key(headers) / LIBRARY
    if not place.exists():
        _build(headers, place)
    return place


def cuda_headers() -> Path:
    """The folder of the CUDA headers that came with torch.

    Raises:
        DeviceError: if there is no dry device for this platform or this torch.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        found = f"{platform.system()} {platform.machine()}"
        raise DeviceError("dry-platform", f"a dry run needs Linux x86_64, but this is {found}")
    if find_spec("torch") is None:
        raise DeviceError(
            "dry-without-torch",
            f"a dry run needs a CUDA build of torch, but torch is not installed: {INSTALL_CUDA}",
        )
    spec = find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    found_headers = sorted(
        header.parent for root in roots for header in root.glob("*/include/cuda_runtime_api.h")
    )
    if not found_headers:
        raise DeviceError(
            "dry-without-cuda",
            f"a dry run needs a CUDA build of torch, but this torch is built without CUDA: {INSTALL_CUDA}",
        )
    return found_headers[-1]


def _cache() -> Path:
    """Where the library is kept.

    Raises:
        DeviceError: if there is no such folder.
    """
    folder = cache_folder()
    if folder is None:
        raise DeviceError(
            "dry-not-built",
            "a dry run keeps a library in the cache, but this user has no home folder: set XDG_CACHE_HOME to a folder",
        )
    return folder / "dry"


def _key(headers: Path) -> str:
    """A name that depends on everything that the library is built from."""
    made_of = hashlib.sha256(f"{headers} {LINKS}".encode())
    for path in (SOURCE, *sorted(SHIM.rglob("*.h")), headers / "cuda_runtime_api.h", headers / "cuda.h"):
        made_of.update(path.read_bytes())
    return made_of.hexdigest()[:16]


def _build(headers: Path, place: Path) -> None:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise DeviceError(
            "dry-without-compiler",
            "a dry run builds a library with a C compiler, but there is no cc: install gcc",
        )
    try:
        place.parent.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(mkdtemp(dir=place.parent.parent))
    except OSError as error:
        raise DeviceError("dry-not-built", f"{place.parent}: {error.strerror or error}") from None
    try:
        _compile(compiler, headers, fresh / LIBRARY)
        for link in LINKS:
            (fresh / link).symlink_to(LIBRARY)
        fresh.rename(place.parent)
    except OSError as error:
        if not place.exists():  # another process may have put one there first
            raise DeviceError("dry-not-built", f"{place.parent}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _compile(compiler: str, headers: Path, to: Path) -> None:
    words = [compiler, "-shared", "-fPIC", "-O1", "-w", f"-I{SHIM}", f"-I{headers}", str(SOURCE)]
    done = subprocess.run(  # noqa: S603 - a compiler of the PATH, and code of this package
        [*words, "-Wl,-soname,libcuda.so.1", "-o", str(to)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise DeviceError(
            "dry-not-built",
            f"{compiler} could not build the dry device: {(lines or ['no message'])[0].strip()}",
        )
