"""Answers what torch's kernels ask about sizes, without the modules for sizes that are symbols, which import SymPy.

On the meta device all sizes are numbers. A symbol brings the real modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import and_, or_
from typing import Any

from torch import Tensor

from .stand_in import StandIn


class _AboutSizes(StandIn):
    """Stands in for a module whose functions kernels call with sizes."""

    def __init__(self, name: str, of_numbers: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(name)
        for function, answer in of_numbers.items():
            setattr(self, function, partial(self._answered, function, answer))

    def _answered(self, name: str, answer: Callable[..., Any], *given: Any, **more: Any) -> Any:
        if more or not _are_numbers(given):
            return getattr(self.real(), name)(*given, **more)
        return answer(*given)


def _are_numbers(given: tuple[Any, ...] | list[Any]) -> bool:
    return all(map(_is_number, given))


def _is_number(given: Any) -> bool:
    """Whether it is a number, has numbers alone, or is a tensor that has numbers as its layout."""
    if isinstance(given, Tensor):
        return _are_numbers((*given.shape, *given.stride(), given.storage_offset()))
    return type(given) in {bool, int} or (isinstance(given, tuple | list) and _are_numbers(given))


def _same(one: Any, other: Any) -> bool:
    """Whether two numbers, or two tuples or lists of them, are equal: a tuple and a list may be."""
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _itself(number: Any) -> Any:
    return number


OF_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "expect_true": _itself,
    "definitely_true": _itself,
    "guard_or_false": _itself,
    "guard_or_true": _itself,
    "guard_size_oblivious": _itself,
    "statically_known_true": _itself,
    "guard_int": _itself,
    "guarding_hint_or_throw": _itself,
    "has_guarding_hint": lambda _: True,
    "size_hint": _itself,
    "has_hint": lambda _: True,
    "is_nested_int": lambda _: False,
    "free_unbacked_symbols": lambda _: set(),
    "sym_and": lambda *several: reduce(and_, several),
    "sym_or": lambda *several: reduce(or_, several),
    "sym_eq": _same,
}
"""What functions of symbolic_shapes return for numbers, by their code in torch 2.6.0 to 2.15.0; not each torch has each."""


OF_NUMBERS_IN_SYMPY: Mapping[str, Callable[..., Any]] = {"Max": max}
"""The same of torch.utils._sympy.functions."""


class SymPy(StandIn):
    """Stands in for SymPy, of which kernels ask whether a number is an expression: there are none before SymPy is imported."""

    def __init__(self) -> None:
        super().__init__("sympy", is_package=True)

    @property
    def Basic(self) -> type:  # noqa: N802 - SymPy's name
        """The class of expressions."""
        asks = sys._getframe(1).f_globals.get("__name__")  # others may keep it, or derive classes from it
        return _Expression if asks == ASKS and self.is_in_place else self.real().Basic


class _Expression:
    """Nothing is one."""


ASKS = "torch._prims_common"
"""The module that asks for the types of numbers: `elementwise_dtypes`."""


def about_sizes() -> tuple[StandIn, ...]:
    """Stand-ins for all modules that kernels ask about sizes."""
    return (
        _AboutSizes("torch.fx.experimental.symbolic_shapes", OF_NUMBERS),
        _AboutSizes("torch.utils._sympy.functions", OF_NUMBERS_IN_SYMPY),
        SymPy(),
    )
