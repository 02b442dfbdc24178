"""Notices that a module runs part of itself under torch.autocast of CUDA, which has no effect on meta tensors or on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

NOTE = (
    "it runs operations under torch.autocast of CUDA, which has no effect here: the types, memory and times are those without "
    "it (--device dry:NAME runs it)"
)


def watch() -> None:
    """Remember, from now on, which contexts were made to be on: torch without CUDA switches them off.

    Call it before the target is imported: a decorator makes its context then.
    """
    made = torch.autocast.__init__
    if hasattr(made, "__wrapped__"):
        return

    @wraps(made)
    def noted(
        self: Any, device_type: str, dtype: Any = None, enabled: bool = True, *more: Any, **named: Any
    ) -> None:
        on_cuda = device_type == "cuda" and enabled
        made(self, device_type, dtype, enabled and (not on_cuda or torch.cuda.is_available()), *more, **named)
        self.asked_on_cuda = on_cuda

    torch.autocast.__init__ = noted  # type: ignore[method-assign]


@contextmanager
def noticed(notes: list[str]) -> Iterator[None]:
    """Add a note if such a context is entered in the block."""
    entered = torch.autocast.__enter__

    @wraps(entered)
    def noting(self: Any) -> Any:
        if getattr(self, "asked_on_cuda", False) and NOTE not in notes:
            notes.append(NOTE)
        return entered(self)

    torch.autocast.__enter__ = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = entered  # type: ignore[method-assign]
