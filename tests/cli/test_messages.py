"""Messages have codes, and one page of sentences: `python -m tests.refresh outputs` writes it anew."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from samattn_cli.errors import ConfigError, Message, Problem, UsageError, code_of, with_code
from tests.support.messages import page
from tests.support.running import UPDATE

PAGE = Path(__file__).parent.parent / "golden" / "messages.txt"


def test_the_page_of_messages() -> None:
    if UPDATE:
        PAGE.write_text(page(), "utf-8")
    assert page() == PAGE.read_text("utf-8")


def test_the_page_has_messages_whose_place_comes_first() -> None:
    assert "\n[figure-twice]\n" in page()  # of `_damaged(where, code, fault)` in gate/reports/baseline.py


def test_a_message_is_printed_with_its_code_in_its_first_line() -> None:
    assert (
        with_code(Message("two-lines", "this is wrong:\nthat is right"))
        == "this is wrong: [two-lines]\nthat is right"
    )
    assert with_code("no code") == "no code"
    assert str(UsageError("not-a-size", "x is not a size")) == "x is not a size [not-a-size]"


def test_errors_know_the_codes_of_all_that_is_wrong() -> None:
    problems = [
        Problem("a.yaml:1:2", Message("unknown-key", "unknown key 'x'")),
        Problem("a.yaml:2:2", "other"),
    ]
    error = ConfigError(problems)
    assert error.codes == ("unknown-key", "")
    assert str(error) == "a.yaml:1:2: unknown key 'x' [unknown-key]\na.yaml:2:2: other"
    assert UsageError("not-a-size", "x is not a size").codes == ("not-a-size",)


@pytest.mark.parametrize("same", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_of_a_message_keep_its_code(same) -> None:
    message = same(Message("unknown-key", "unknown key"))
    assert (code_of(message), message) == ("unknown-key", "unknown key")
