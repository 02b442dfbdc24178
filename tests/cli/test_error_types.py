"""An error for the user has a code: mypy refuses a text alone."""

from __future__ import annotations

from samattn_cli.errors import Message, SamattnError


def test_an_error_takes_a_message_or_a_code_and_a_text() -> None:
    SamattnError("a text alone")  # type: ignore[call-overload] # mypy reports an ignore that is not needed
    errors = (SamattnError("not-a-size", "a size"), SamattnError(Message("not-a-size", "a size")))
    assert [(error.codes, str(error)) for error in errors] == [(("not-a-size",), "a size [not-a-size]")] * 2
