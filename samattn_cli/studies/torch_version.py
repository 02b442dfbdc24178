"""The oldest torch that the cross-check is tested with. The installed version is read from metadata, without import."""

from __future__ import annotations

import re

OLDEST_TESTED = (2, 6)
"""As in pyproject.toml and in the matrix of .github/workflows/ci.yml."""


def too_old() -> str:
    """Why the cross-check cannot run with the installed torch, and what to install; "" if it can."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and not for `analyze --no-verify`

    try:
        installed = version("torch")
    except PackageNotFoundError:  # torch was built from source and has no metadata
        return ""
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    if not numbers or tuple(map(int, numbers.groups())) >= OLDEST_TESTED:
        return ""
    oldest = ".".join(map(str, OLDEST_TESTED))
    return (
        f"torch {installed} is older than {oldest}, the oldest that samattn is tested with: "
        f"pip install 'torch>={oldest}'"
    )
