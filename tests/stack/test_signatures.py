"""What `samattn trace` says of arguments and inputs that a target does not take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samattn_cli.errors import SamattnError
from samattn_cli.stack.tracing.child import _without_batch
from samattn_cli.stack.tracing.load import target_of
from samattn_cli.stack.tracing.signatures import check_arguments, defined_in
from samattn_cli.studies.traced.ask import input_of


def build(depth: int, dim: int = 384) -> None: ...


def open_ended(depth: int, **others: int) -> None: ...


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("found", "arguments", "message"),
    [
        (build, {"dept": 2}, "no argument is named 'dept'; did you mean 'depth'?"),
        (build, {"depth": 2, "foo": 1}, "; it takes depth, dim (optional): --arg KEY=VALUE"),
        (build, {}, "missing a required argument: 'depth'; it takes depth, dim (optional): --arg KEY=VALUE"),
        (
            open_ended,
            {"foo": 1},
            "missing a required argument: 'depth'; it takes depth, others: --arg KEY=VALUE",
        ),
        (nothing, {"foo": 1}, "; it takes no argument"),
    ],
)
def test_arguments_that_a_target_does_not_take(
    found: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SamattnError) as caught:
        check_arguments(found, arguments)
    assert str(caught.value.message).endswith(message)
    assert caught.value.codes == ("target-not-built",)


def test_arguments_of_what_has_no_signature_are_not_checked() -> None:
    check_arguments(dict, {"anything": 1})
    check_arguments(build, {"depth": 2})


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("class Block: ...\nclass Encoder: ...\nclass _Own: ...\ndef build(): ...\n", "Encoder"),
        ("def first(): ...\ndef build(): ...\n", "build"),
        ("x = 1\n", "NAME"),
        ("class (\n", "NAME"),
    ],
)
def test_a_file_is_to_be_named_with_what_it_defines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(code, "utf-8")
    assert defined_in("mine.py") == name
    with pytest.raises(SamattnError, match=f"name what to build, such as mine:{name}"):
        target_of("mine.py", {})


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("1,3,512,512", "1x3x512x512"),
        ("x=[1, 3, 64, 64]", "x=1x3x64x64"),
        ("(1, 77)", "1x77"),
        ("1X3", "1x3"),
        ("big", "1x3x1024x1024, pixel_values=1x3x1024x1024, or ids=1x77:int64"),
    ],
)
def test_a_shape_in_another_form_is_shown_in_the_right_one(text: str, right: str) -> None:
    with pytest.raises(SamattnError, match=r"is not a shape; write ") as caught:
        input_of(0, text)
    assert caught.value.message == f"is not a shape; write {right}"
    if right.count(",") == 0:
        assert input_of(0, right)[1]


@pytest.mark.parametrize(
    ("shapes", "hint"),
    [
        ([(3, 64, 64)], "; an image with its batch is --input 1x3x64x64"),
        ([(77, 64, 64)], ""),
        ([(1, 3, 64, 64)], ""),
        ([(3, 64, 64), (3, 64, 64)], ""),
    ],
)
def test_an_image_without_a_batch(shapes: list[tuple[int, ...]], hint: str) -> None:
    assert _without_batch(shapes) == hint
