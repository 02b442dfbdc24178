"""Keeps torch from importing its compiler while shapes are run on the meta device.

Many of torch's Python kernels are wrapped in ``torch._disable_dynamo``. On its first call, it imports torch._dynamo to
exclude them from compilation. That takes a second, and nothing is compiled here.
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
MARK = "__dynamo_disable"  # the attribute in which torch._compile keeps the excluded function


class _Stub(ModuleType):
    """Replaces torch._dynamo: its `disable` does nothing, and any other attribute loads the real module."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.not_excluded: list[Any] = []

    def disable(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """Return the function unchanged."""
        self.not_excluded.append(function)
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which is read before a submodule is imported
            raise AttributeError(name)
        self.remove()
        return getattr(importlib.import_module(NAME), name)

    def install(self) -> None:
        """Take the place of torch._dynamo."""
        sys.modules[NAME] = self
        torch._dynamo = self

    def remove(self) -> None:
        """Undo everything: functions that were not excluded will be at their next call."""
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME], torch._dynamo
        for function in self.not_excluded:
            vars(function).pop(MARK, None)
        self.not_excluded.clear()


@contextmanager
def without_dynamo() -> Iterator[None]:
    """Keep torch from importing torch._dynamo. If it is imported already, this does nothing."""
    if NAME in sys.modules:
        yield
        return
    stub = _Stub()
    stub.install()
    try:
        yield
    finally:
        stub.remove()
