"""What is printed is only shown: not obeyed by a terminal, nor by GitHub Actions."""

import csv
import io
import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.cli.output import show
from samattn_cli.gate import formats as _formats  # noqa: F401 - registers how a check is rendered
from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.render.options import Options
from samattn_cli.render.shield import OF_FORMAT, STYLE, printed, visible
from samattn_cli.reports.text import to_json
from tests.support.running import SAMATTN, environment, samattn
from tests.support.sampling import sampled
from tests.support.thresholds_files import SMALL

ACTIONS = {"GITHUB_ACTIONS": "true"}
COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)
"""As actions/runner reads a line (ActionCommand.cs): "::" at its beginning, or "##[" anywhere."""

MASK, GROUP = "::add-mask::x", "a ##[group]b"
RESULT = Result(
    rule="::error::x",
    config="::error::x.yaml",
    outcome="error",
    summary=f"over\n{MASK}",
    advice=f"{MASK}\n{GROUP}\n\x1b[31mred",
)
REPORT = CheckReport(thresholds="samattn.yaml", base="", configs=("::error::x.yaml",), results=(RESULT,))
READ = {"json": json.loads, "sarif": json.loads, "gitlab": json.loads, "junit": ET.fromstring}


@pytest.mark.parametrize("name", ["csv", "junit", "json", "sarif", "gitlab", "markdown", "terminal"])
def test_no_format_of_a_check_commands_github(name: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    show(REPORT, name, Options())
    text = capsys.readouterr().out
    assert "\x1b" not in text
    commands = [line for line in text.splitlines() if COMMAND.search(line)]
    assert not commands or (name == "terminal" and commands[0].startswith("::stop-commands::"))
    READ.get(name, str)(text)
    if name == "json":
        assert json.loads(text) == json.loads(to_json(REPORT))
    elif name == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert row["summary"] == "over\n\\x3a:add-mask::x"
        assert row["advice"] == "::add-mask::x\na ##\\x5bgroup]b\n\\x1b[31mred"
        assert text.splitlines()[1].startswith("\\x3a:error::x")
    elif name == "junit":
        (failure,) = ET.fromstring(text).iter("failure")
        assert f"{MASK}\n{GROUP}\n\\x1b[31mred" in (failure.text or "")


@pytest.mark.parametrize(
    ("name", "option"),
    sampled(
        [("csv", "-f{}"), ("csv", "-o{}=/dev/stdout"), ("junit", "-f{}"), ("junit", "-o{}=/dev/stdout")], 3
    ),
)
def test_names_in_a_check_are_not_commands(tmp_path: Path, name: str, option: str) -> None:
    (tmp_path / "::error::x.yaml").write_text(SMALL, "utf-8")
    (tmp_path / "samattn.yaml").write_text(THRESHOLDS, "utf-8")
    done = samattn("check", option.format(name), cwd=tmp_path, **ACTIONS)
    assert done.returncode == 1
    assert done.stdout
    assert not COMMAND.search(done.stdout)
    there = samattn("check", option.format(name), cwd=tmp_path).stdout
    assert GROUP in there


@pytest.mark.parametrize("name", OF_FORMAT)
def test_every_format_for_programs_has_its_escapes(name: str) -> None:
    text = f"{MASK}\n  {MASK}\n{GROUP}\n"
    assert COMMAND.search(text)
    assert printed(text, name, {}) == text
    there = printed(text, name, ACTIONS)
    assert not re.search(r"##\[", there)
    assert name in {"json", "sarif", "gitlab"} or not COMMAND.search(there)  # no line of JSON begins so


THRESHOLDS = f"""\
version: 1
configs: ["*.yaml"]
rules:
- {{id: flops, metric: flops, limit: 1 FLOP, message: "{GROUP}"}}
"""
ESCAPE = "\x1b]0;owned\x07"
"""Sets the title of a terminal's window."""


def obeyed(output: str) -> list[str]:
    """The lines that GitHub would obey, without samattn's own annotations."""
    told = re.sub(r"^::stop-commands::(\w{64})$.*?^::\1::$", "", output, flags=re.MULTILINE | re.DOTALL)
    return [line for line in told.splitlines() if COMMAND.search(line) and not line.startswith("::error ")]


@pytest.mark.parametrize("key", [ESCAPE, "\x9b31m", "\u202e", f"a\n{MASK}"])
def test_keys_of_json_are_not_obeyed(tmp_path: Path, monkeypatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    baseline = {"kind": "baseline", "schema_version": 1, "figures": [], key: 1}
    (tmp_path / "samattn-baseline.json").write_text(json.dumps(baseline), "utf-8")
    (tmp_path / "small.yaml").write_text(SMALL, "utf-8")
    rule = '- {id: a, metric: flops, vs: baseline, increase: {error: "+0"}}'
    (tmp_path / "samattn.yaml").write_text(f"version: 1\nconfigs: [small.yaml]\nrules:\n{rule}\n", "utf-8")
    (tmp_path / "r.json").write_text(json.dumps({"kind": "recording", "schema_version": 1, key: 1}), "utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam", key: {key: key}}), "utf-8")
    for command in (["check"], ["verify", "--measured", "r.json"], ["import", "config.json"]):
        done = CliRunner().invoke(app, command, env=ACTIONS)
        assert done.exit_code == (0 if command[0] == "import" else 2), done.output
        assert not obeyed(done.output)
        assert visible(done.output, keep="\n") == done.output


@pytest.mark.parametrize(
    "command",
    [
        ["analyze", "{}"],
        ["analyze", "{}.yaml"],
        ["verify", "{}"],
        ["import", "{}.json"],
        ["check", "{}"],
        ["check", "--thresholds", "{}"],
        ["analyze", "sam_vit_b", "--no-verify", "-o", "{}/a.json"],
        ["analyze", "sam_vit_b", "--no-verify", "--device", "{}"],
        ["{}"],
        ["analyze", "--{}"],
        ["analyze", "sam_vit_b", "--format", "{}"],
        ["calibrate", "h100", "{}"],
    ],
)
def test_names_of_files_and_options_are_not_obeyed(tmp_path: Path, monkeypatch, command: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    odd = f"{ESCAPE}##[error]x"
    done = CliRunner().invoke(app, [part.format(odd) for part in command], env={**ACTIONS, "COLUMNS": "200"})
    assert done.exit_code == 2
    assert "\x1b" not in STYLE.sub("", done.output)
    assert "\\x1b" in done.output or command == ["check", "{}"]  # which has no thresholds
    assert not obeyed(done.output)


def test_a_file_that_is_written_is_reported_without_being_obeyed(tmp_path: Path) -> None:
    name = f"{ESCAPE}a.json"
    done = samattn("analyze", "sam_vit_b", "--no-verify", "-o", name, cwd=tmp_path)
    assert done.stderr == "wrote \\x1b]0;owned\\x07a.json\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_with_the_marks_of_rich_is_reported_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "red].yaml").write_text(SMALL, "utf-8")
    done = samattn("verify", "[/red].yaml", cwd=tmp_path, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0, done.stderr
    assert "cross-checking [/red].yaml" in done.stderr  # next to the spinner


def test_colours_are_richs_own() -> None:
    colored = "\x1b[1;32mok\x1b[0m \x1b[2J\x1b[8"
    assert printed(colored, "terminal", {}) == "\x1b[1;32mok\x1b[0m \\x1b[2J\\x1b[8"
    assert printed(colored, "csv", {}) == "\\x1b[1;32mok\\x1b[0m \\x1b[2J\\x1b[8"


def test_a_message_cannot_colour_a_coloured_report(capsys) -> None:
    show(REPORT, "terminal", Options(color=True))
    text = capsys.readouterr().out
    assert "\x1b[1;31merror\x1b[0m" in text
    assert "\\x1b[31mred" in text


def test_spaces_and_scripts_of_the_world_are_shown_as_they_are() -> None:
    text = "Encodeur\u00a0: 3\u202f000 \u3000 é 模型 😀"
    assert visible(text) == text


def test_what_is_printed_where_the_working_directory_is_unreadable_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.yaml")
    (tmp_path / name).write_text(SMALL, "utf-8")
    done = subprocess.run(
        [*SAMATTN, "analyze", b"\xff.yaml", "--no-verify", "-o", b"\xff.json"],
        cwd=tmp_path,
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"wrote \\udcff.json\n"
