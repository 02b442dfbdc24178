"""The help that is kept is what Typer draws, and is printed only where Typer would draw the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from samattn_cli.cli import _run as run_words
from samattn_cli.cli import help as kept
from samattn_cli.cli.app import app
from tests.support.running import UPDATE

FILE = Path(kept.__file__).with_suffix(".txt")


@pytest.fixture(autouse=True)
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is not a terminal, and no variable asks for colour."""
    for name in (*kept.DRAWN_BY_RICH, "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(kept.WIDTH))
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)


def test_it_is_what_typer_draws(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["--help"], prog_name="samattn")
    drawn = capsys.readouterr().out
    if UPDATE:
        FILE.write_text(drawn, encoding="utf-8")
    assert kept.kept_help(["--help"]) == drawn


@pytest.mark.parametrize(
    ("name", "value"), [("COLUMNS", "100"), ("FORCE_COLOR", "1"), ("_SAMATTN_COMPLETE", "complete_bash")]
)
def test_typer_draws_another_page(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert kept.kept_help(["-h"]) == kept.kept_help(["help"]) is not None
    monkeypatch.setenv(name, value)
    assert kept.kept_help(["--help"]) is None


def test_typer_draws_the_help_of_commands() -> None:
    assert kept.kept_help(["analyze", "--help"]) is kept.kept_help([]) is None


@pytest.mark.parametrize("columns", ["80", "60"])
def test_the_help_of_commands_has_all_of_each_word(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for name in ("analyze", "compare-placements", "trace"):
        with pytest.raises(SystemExit):
            app([name, "--help"], prog_name="samattn")
        drawn = capsys.readouterr().out
        assert "--family" in drawn
        assert "…" not in drawn


def test_no_columns_are_columns_that_are_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr("sys.argv", ["samattn", "guide", "--help"])
    with pytest.raises(SystemExit):
        run_words(["guide", "--help"])
    assert "Usage: samattn guide" in capsys.readouterr().out
