"""Standard input can be read once."""

from __future__ import annotations

import pytest

from tests.support.running import samattn


@pytest.mark.parametrize(
    "words",
    [
        ("diff", "-", "-"),
        ("diff", "-", "--set-after", "depth=6"),
        ("sweep", "-", "-"),
        ("verify", "-", "-"),
        ("measure", "-", "-"),
    ],
)
def test_a_second_config_from_standard_input_is_refused(words: tuple[str, ...]) -> None:
    done = samattn(*words)
    assert done.returncode == 2
    assert "[stdin-twice]" in done.stderr
