"""The oldest torch that the cross-check is tested with. The installed version is read from metadata, without import."""

from __future__ import annotations

from ..encoder.model import EncoderConfig
from ..encoder.torch_versions import OLDEST, nearest, version_of, words
from ..records import replace


def installed() -> str:
    """The installed version, such as "2.13.0+cpu"; "" if torch is not installed, or was built from source without metadata."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and not for `analyze --no-verify`

    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def with_torch(config: EncoderConfig, torch: str) -> EncoderConfig:
    """A config with the version of torch that runs it, such as "2.13.0+cpu", or the nearest that is known; itself if there is none."""
    version = nearest(torch)
    return config if version is None else replace(config, run=replace(config.run, torch=words(version)))


def too_old() -> str:
    """Why the cross-check cannot run with the installed torch, and what to install; "" if it can."""
    version = installed()
    found = version_of(version)
    if found is None or found >= OLDEST:
        return ""
    oldest = words(OLDEST)
    return (
        f"torch {version} is older than {oldest}, the oldest that samattn is tested with: "
        f"pip install 'torch>={oldest}'"
    )
