"""Fewer cases in the suite: the others run each week, marked exhaustive."""

import os
from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """The cases, of which every second or third, from the first on, is in the suite: one of `every`."""
    return [_case(case, number % every == 0) for number, case in enumerate(cases)]


def _case(case: Any, in_suite: bool) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return case if in_suite else pytest.param(*values, marks=pytest.mark.exhaustive)


def examples(count: int) -> int:
    """How many examples a property is tried with: an eighth in the suite, all each week."""
    return count if os.environ.get("SAMATTN_EVERY_EXAMPLE") else -(-count // 8)
