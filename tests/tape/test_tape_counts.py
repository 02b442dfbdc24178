"""What fvcore and FlopCounterMode count of each operation, and what the Tape says that they do: see tape_programs."""

from __future__ import annotations

import pytest

from tests.support.tape_programs import counts_derived, counts_found
from tests.tape import (
    test_tape_attention,
    test_tape_convolution,
    test_tape_elementwise,
    test_tape_masking,
    test_tape_moving,
)

PROGRAMS = {
    f"{module.__name__}: {name}": program
    for module in (
        test_tape_attention,
        test_tape_convolution,
        test_tape_elementwise,
        test_tape_masking,
        test_tape_moving,
    )
    for name, program in module.PROGRAMS.items()
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_each_tool_counts_what_the_tape_says_of_it(program):
    assert counts_derived(program) == counts_found(program)
