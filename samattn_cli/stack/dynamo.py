"""Keeps torch from importing its compiler while shapes are run on the meta device.

Many of torch's Python kernels are wrapped in ``torch._disable_dynamo``. On its first call, it imports torch._dynamo to
exclude them from compilation. They also ask whether sizes are symbols of SymPy. Together these imports take two seconds, and
nothing is compiled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch  # noqa: F401 - the modules that are replaced are its own

from .sizes import about_sizes
from .stand_in import StandIn, instead_of_modules

MARK = "__dynamo_disable"  # the attribute in which torch._compile keeps the excluded function


class _Dynamo(StandIn):
    """Stands in for torch._dynamo: its `disable` does nothing."""

    def __init__(self) -> None:
        super().__init__("torch._dynamo", is_package=True)
        self.not_excluded: list[Any] = []

    def disable(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """Return the function unchanged."""
        self.not_excluded.append(function)
        return function

    def remove(self) -> None:
        """Undo everything: functions that were not excluded will be at their next call."""
        super().remove()
        for function in self.not_excluded:
            vars(function).pop(MARK, None)
        self.not_excluded.clear()


@contextmanager
def without_dynamo() -> Iterator[Sequence[StandIn]]:
    """Keep torch from importing its compiler and SymPy, unless they are imported already."""
    with instead_of_modules(_Dynamo(), *about_sizes()) as stand_ins:
        yield stand_ins
