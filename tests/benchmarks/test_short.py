"""The short form of the table of issue 20: no command makes many more calls than when its calls were last looked at."""

from __future__ import annotations

import pytest

from tests.benchmarks.short import CASES, calls, kept

REFRESH = "if it has to be: python -m tests.benchmarks.short --write"
DOUBLED = """
from functools import lru_cache
from samattn_cli.tape import encoder, recurring
once = encoder._forward.__wrapped__
def twice(*settings, **options):
    once(*settings, **options)
    recurring.blocks_of.cache_clear()
    return once(*settings, **options)
encoder._forward = lru_cache(twice)
"""
IMPORTED = "import numpy"


@pytest.mark.parametrize("name", CASES)
def test_a_command_makes_no_more_calls(name):
    if (called := calls(name)).beyond(kept()[name]):
        called = calls(name)  # the first run may have written bytecode
    beyond = called.beyond(kept()[name])
    assert not beyond, "\n".join([f"{CASES[name].command}; {REFRESH}", *beyond, "most:", *called.most])


@pytest.mark.parametrize(("planted", "part"), [(DOUBLED, "tape"), (IMPORTED, "all")])
def test_a_pass_that_is_made_twice_and_an_import_are_seen(planted, part):
    name = {"tape": "analyze", "all": "help"}[part]
    assert any(line.startswith(f"{part}: ") for line in calls(name, planted).beyond(kept()[name]))


def test_calls_are_kept_of_each_command():
    assert kept().keys() == CASES.keys()
