"""The versions of torch whose choice of attention kernels is known (`run.torch`)."""

from __future__ import annotations

import re
from typing import Any

from ..errors import UsageError

Version = tuple[int, int]

OLDEST: Version = (2, 6)
"""Also the oldest that the cross-check is tested with, as in pyproject.toml and in the matrix of .github/workflows/ci.yml."""
NEWEST: Version = (2, 15)
DEFAULT: Version = (2, 15)
"""Of `run.torch`: what `pip install torch` installs. It is the same on every machine, so that figures are."""
FORMER_DEFAULT: Version = (2, 14)
"""Before that one. Recordings of then have it in their configs; which torch ran, their fingerprints say."""

PER_CALL_SINCE: Version = (2, 15)
"""Since then cuBLAS and cuBLASLt take their workspaces anew in each call, and give them back (`tape/inside.py`)."""

LINEAR_IS_VIEW_BEFORE: Version = (2, 15)
"""The first torch whose linear layer with a bias returns a tensor of its own for inputs (..., N, C); before, a view of a matrix. Source:
_flatten_nd_linear in aten/src/ATen/native/Linear.cpp, as seen in the graph of autograd of torch 2.14.1 and 2.15.0."""

FSDP_REDUCES_AS_SHARDS_SINCE: Version = (2, 15)
"""Since then FSDP2 reduces gradients in the type of the shards where no other is named, and not in that of the gathered weights. Since
then, too, the buffer of an all-gather in the forward goes before the next one is copied out, and not after. Sources:
torch/distributed/fsdp/_fully_shard, unsharded_grad_dtype in _fsdp_param.py and wait_for_unshard in _fsdp_param_group.py of 2.14.1 and 2.15.0."""

VERSION = re.compile(r"(\d+)\.(\d+)(\.\d+)?(\+\w*)?")


def words(version: Version) -> str:
    """Such as "2.14"."""
    return ".".join(map(str, version))


RANGE = f"{words(OLDEST)} to {words(NEWEST)}"


def known() -> tuple[str, ...]:
    """All that `run.torch` takes."""
    return tuple(words((OLDEST[0], minor)) for minor in range(OLDEST[1], NEWEST[1] + 1))


def version_of(text: str) -> Version | None:
    """The version in a text such as "2.13.0+cpu", without its last number; None if there is none."""
    found = VERSION.match(text)
    return found and (int(found[1]), int(found[2]))


def nearest(text: str) -> Version | None:
    """The version in a text, or the known one that is nearest to it; None if there is none."""
    found = version_of(text)
    return found and min(max(found, OLDEST), NEWEST)


def parse_torch(value: Any) -> str:
    """The version without its last number, such as "2.13".

    Raises:
        UsageError: if it is not a version, or one whose kernels are not known.
    """
    text = str(value).strip()
    found = version_of(text) if VERSION.fullmatch(text) else None
    if found is None:
        raise UsageError("not-a-torch-version", f"{text!r} is not a version of torch, such as 2.13")
    if OLDEST <= found <= NEWEST:
        return words(found)
    is_cut = isinstance(value, float) and OLDEST <= (found[0], found[1] * 10) <= NEWEST
    quotes = f". If you mean {text}0, put it in quotes: YAML reads it as the number {text}" if is_cut else ""
    raise UsageError(
        "unknown-torch-version", f"the attention kernels of torch {text} are not known: {RANGE} are{quotes}"
    )
