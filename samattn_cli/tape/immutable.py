"""Immutable dataclasses that are cheap to make: the type checker forbids changes, and nothing is checked at run time.

A pass makes thousands of them. A frozen dataclass sets each field through `object.__setattr__`; that took a quarter of the
time of a `check`. Of the methods, only `__init__` is compiled: the standard decorator compiles each, at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as immutable
    from typing import ParamSpec, TypeVar

    Given = ParamSpec("Given")
    Made = TypeVar("Made")

    def maker(cls: Callable[Given, Made]) -> Callable[Given, Made]:
        """A function that makes objects of such a class from the same arguments, in fewer instructions."""
        return cls
else:
    from ..records import maker, slotted

    def immutable(*, frozen: bool, eq: bool) -> Any:
        """A dataclass with slots; only the type checker reads `frozen`."""
        assert frozen  # noqa: S101 - the only use of this decorator
        return lambda cls: slotted(cls, eq=eq)


__all__ = ["immutable", "maker"]
