"""Patterns that are compiled late do as those of re."""

from __future__ import annotations

import re

from samattn_cli.patterns import pattern


def test_a_pattern_is_compiled_by_its_first_use() -> None:
    late = pattern(r"(?P<side>\d+)X", re.IGNORECASE)
    assert "fullmatch" not in vars(late)
    found = late.fullmatch("14x")
    assert found is not None
    assert found["side"] == "14"
    assert (late.pattern, late.sub("-", "7x, 8X")) == (r"(?P<side>\d+)X", "-, -")
    assert vars(late)["fullmatch"] == re.compile(late.pattern, re.IGNORECASE).fullmatch
