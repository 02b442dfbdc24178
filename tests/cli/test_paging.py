"""A report that is longer than the terminal is shown in a pager; in a terminal that the test makes."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli import output, paging
from samattn_cli.cli.app import app
from tests.support.running import SAMATTN, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudoterminal")


def in_terminal(*words: str, keys: tuple[tuple[bytes, bytes], ...] = (), **variables: str) -> tuple[str, int]:
    """Run a command in a terminal of 80 columns and 24 rows; type each key once what comes before it is on the screen."""
    env = environment(TERM="xterm", **variables)
    env = {
        name: value for name, value in env.items() if name not in {"CI", "PAGER", "LESS"} - variables.keys()
    }
    pid, terminal = pty.fork()
    if not pid:
        os.execve(sys.executable, [*SAMATTN, *words], env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown, left = b"", list(keys)
    while select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 2**16)
        except OSError:  # Linux: nothing writes to it any more
            part = b""
        if not part:
            break
        shown += part
        if left and left[0][0] in shown:
            os.write(terminal, left.pop(0)[1])
    else:
        os.kill(pid, signal.SIGKILL)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not paging.pager({}), reason="less is not installed")
def test_less_shows_the_first_screen_in_colour_and_q_leaves_it() -> None:
    shown, code = in_terminal("metrics", keys=((b"\n:", b"q"),))
    assert code == 0
    assert "\x1b[1mFigures\x1b[0m" in shown
    assert "latency_ratio_vs_global" not in shown  # the last row, of 80
    assert "Traceback" not in shown


def test_another_pager_receives_the_whole(tmp_path: Path) -> None:
    whole = tmp_path / "whole.txt"
    shown, code = in_terminal("metrics", SAMATTN_PAGER=f"cat > {whole}", PAGER="false")
    assert (shown, code) == ("", 0)
    text = whole.read_text("utf-8")
    assert text.startswith("\x1b[1mFigures\x1b[0m\n")
    assert "latency_ratio_vs_global" in text


class Terminal:
    """Standard output that says that it is a terminal, of 80 columns and as many rows as are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        for name in ("CI", *paging.VARIABLES, *paging.SETTINGS, "TERM", "LC_ALL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(paging, "_is_terminal", lambda: True)
        monkeypatch.setattr(paging, "_size", lambda: (80, rows))
        monkeypatch.setattr(output, "show_in_pager", self._show)
        self.paged: list[str] = []

    def _show(self, text: str) -> bool:
        self.paged.append(text)
        return True

    def run(self, *words: str, **variables: str) -> str:
        """What is printed without a pager."""
        result = CliRunner().invoke(app, words, env={"PAGER": "less", "COLUMNS": "80", **variables})
        assert result.exit_code == 0, result.output
        return result.stdout


def test_only_what_is_longer_than_the_terminal_is_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    tall = Terminal(monkeypatch, 200)
    listed = tall.run("metrics")
    assert not tall.paged
    rows = len(listed.splitlines())
    exact = Terminal(monkeypatch, rows + 1)  # and the row of the prompt
    assert exact.run("metrics") == listed
    assert not exact.paged
    short = Terminal(monkeypatch, rows)
    assert short.run("metrics") == ""
    assert short.paged == [listed]


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("--no-pager", "metrics"), {}),
        (("metrics", "--no-pager"), {}),
        (("metrics",), {"CI": "true"}),
        (("metrics",), {"TERM": "dumb"}),
        (("metrics",), {"PAGER": ""}),
        (("metrics",), {"PAGER": "cat"}),
        (("metrics",), {"SAMATTN_PAGER": ""}),  # counts more than PAGER
    ],
)
def test_it_is_not_paged(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    terminal = Terminal(monkeypatch, 5)
    assert "peak_bytes" in terminal.run(*words, **variables)
    assert not terminal.paged
    assert terminal.run("metrics") == ""  # what was said of one command does not hold for the next


def test_the_pager_has_what_analyze_printed_before_the_cross_check(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 24)
    start = terminal.run("analyze", "vit_b", "--no-verify")
    begun, _, erased = start.partition("\x1b")
    assert erased == f"[{len(begun.splitlines())}A\x1b[J"
    (whole,) = terminal.paged
    assert whole.startswith(begun)
    assert "not cross-checked" in whole


@pytest.mark.parametrize("pager", ["exit 3", "cat >/dev/null; false", "kill -9 $$"])
def test_a_pager_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch, pager: str) -> None:
    show = output.show_in_pager
    terminal = Terminal(monkeypatch, 5)
    monkeypatch.setattr(output, "show_in_pager", show)
    assert "peak_bytes" in terminal.run("metrics", PAGER=pager)
    assert terminal.run("metrics", PAGER="cat >/dev/null") == ""


def test_a_pager_that_cannot_be_run_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    show = output.show_in_pager
    terminal = Terminal(monkeypatch, 5)
    monkeypatch.setattr(output, "show_in_pager", show)
    assert "peak_bytes" in terminal.run("metrics", PAGER="no_such_pager")
    assert "no_such_pager" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("variables", "style"), [({}, "FRX utf-8"), ({"LESS": "S", "LESSCHARSET": "x"}, "S x")]
)
def test_what_less_reads_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], style: str
) -> None:
    Terminal(monkeypatch, 5)
    for name, value in ({"PAGER": f'echo "$LESS $LESSCHARSET" > {tmp_path}/style'} | variables).items():
        monkeypatch.setenv(name, value)
    assert paging.show_in_pager("a\n" * 10**5)  # which echo does not read
    assert (tmp_path / "style").read_text("utf-8").strip() == style
