"""The oldest torch that the cross-check is tested with. The installed version is read from metadata, without import."""

from __future__ import annotations

from ..encoder.torch_versions import OLDEST, version_of, words


def too_old() -> str:
    """Why the cross-check cannot run with the installed torch, and what to install; "" if it can."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and not for `analyze --no-verify`

    try:
        installed = version("torch")
    except PackageNotFoundError:  # torch was built from source and has no metadata
        return ""
    found = version_of(installed)
    if found is None or found >= OLDEST:
        return ""
    oldest = words(OLDEST)
    return (
        f"torch {installed} is older than {oldest}, the oldest that samattn is tested with: "
        f"pip install 'torch>={oldest}'"
    )
