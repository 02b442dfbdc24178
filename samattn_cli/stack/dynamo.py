"""Keeps torch from importing its compiler while shapes are run on the meta device.

Many of torch's Python kernels are wrapped in ``torch._disable_dynamo``, which on its first call imports torch._dynamo
to shield them from compilation. That takes a second, and nothing is compiled here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"
MARK = "__dynamo_disable"  # where torch._compile keeps the shielded function


class _Stub(ModuleType):
    """Stands for torch._dynamo: shields nothing, and gives way to the real one when anything else is asked of it."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.unshielded: list[Any] = []

    def disable(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """The function as it is."""
        self.unshielded.append(function)
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.remove()
        return getattr(importlib.import_module(NAME), name)

    def install(self) -> None:
        """Stand in."""
        sys.modules[NAME] = self
        torch._dynamo = self

    def remove(self) -> None:
        """Leave no trace: what was not shielded will be, the next time."""
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME], torch._dynamo
        for function in self.unshielded:
            vars(function).pop(MARK, None)
        self.unshielded.clear()


@contextmanager
def without_dynamo() -> Iterator[None]:
    """Within, torch._dynamo is not imported for shielding; nothing happens where it is imported already."""
    if NAME in sys.modules:
        yield
        return
    stub = _Stub()
    stub.install()
    try:
        yield
    finally:
        stub.remove()
