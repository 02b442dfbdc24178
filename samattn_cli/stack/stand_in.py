"""Modules that stand in for others that are not imported yet, because importing them takes long."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class StandIn(ModuleType):
    """Stands in for a module. An attribute that it does not have, or a submodule, brings the real module.

    Whoever keeps it, or something of it, has what the real module has by it.

    Args:
        name: the module.
        is_package: whether it has submodules.
    """

    def __init__(self, name: str, *, is_package: bool = False) -> None:
        super().__init__(name)
        self._is_package = is_package
        self._together: Sequence[StandIn] = (self,)

    def __getattr__(self, name: str) -> Any:
        imports_submodule = name == "__path__" and self._is_package
        if name.startswith("__") and not imports_submodule:  # Python itself asks each module for such names
            raise AttributeError(name)
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        """The real module. It may import those whose stand-ins come later, so these go too.

        As torch._dynamo is imported, torch.fx leaves cycles of references to frames, and thus to those that called for the
        module, with their tensors. The cycles go at once, so that no trace finds these tensors alive.
        """
        for each in self._together[self._together.index(self) :]:
            each.remove()
        is_new = self.__name__ not in sys.modules
        module = importlib.import_module(self.__name__)
        if is_new:
            gc.collect()
        return module

    @property
    def is_in_place(self) -> bool:
        """Whether an import finds it."""
        return sys.modules.get(self.__name__) is self

    def install(self, together: Sequence[StandIn]) -> None:
        """Take the place of the module, together with other stand-ins."""
        self._together = together
        sys.modules[self.__name__] = self
        package, _, name = self.__name__.rpartition(".")
        if package:
            setattr(importlib.import_module(package), name, self)

    def remove(self) -> None:
        """Leave the place, if it is not left yet."""
        if not self.is_in_place:
            return
        del sys.modules[self.__name__]
        package, _, name = self.__name__.rpartition(".")
        if package:
            delattr(sys.modules[package], name)


@contextmanager
def instead_of_modules(*stand_ins: StandIn) -> Iterator[Sequence[StandIn]]:
    """Replace modules within this context; those that are imported already stay.

    Args:
        stand_ins: each before those for modules that its module imports.
    """
    needed = [each for each in stand_ins if each.__name__ not in sys.modules]
    for each in needed:
        each.install(needed)
    try:
        yield needed
    finally:
        for each in needed:
            each.remove()
