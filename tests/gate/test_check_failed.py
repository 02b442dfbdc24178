"""Reports are written, too, where a check cannot begin: without its thresholds, its base or its baseline."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.errors import ConfigError
from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.reports.diff import Place
from samattn_cli.reports.text import from_json
from tests.gate.test_check_base import outside_of_ci  # noqa: F401 - a fixture for every test
from tests.support.repositories import commit, git
from tests.support.thresholds_files import folder

LIMIT = "- {id: a, metric: flops, limit: 1 GFLOP}"
DRIFT = '- {id: a, metric: flops, vs: baseline, increase: {error: "+0"}}'


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, LIMIT)
    return tmp_path


def reported(*arguments: str) -> tuple[CheckReport, str]:
    """The report of a check that could not begin, as it goes to a file and to standard output, and what is said."""
    ran = CliRunner().invoke(app, ["check", *arguments, "--format", "json", "-o", "r.json"])
    assert ran.exit_code == 2
    assert Path("r.json").read_text("utf-8") == ran.stdout
    said, wrote = ran.stderr.splitlines()[:-1], ran.stderr.splitlines()[-1]
    assert wrote == "wrote r.json"
    report = from_json(ran.stdout)
    assert report.outcome == "unchecked"
    return report, "\n".join(said)


def with_code(result: Result) -> str:
    return f"{result.summary} [{result.code}]" if result.code else result.summary


def test_every_problem_of_the_thresholds_is_a_result(inside):
    with pytest.raises(ConfigError) as error:
        folder(inside, "- {id: a, metric: flops, limit: 1 GB}\n- {id: b, metric: flops, limt: 1 GFLOP}")
    report, said = reported()
    assert report.thresholds == "samattn.yaml"
    assert said.splitlines() == [f"{result.place}: {with_code(result)}" for result in report.results]
    assert report.results[0].code == "wrong-unit"
    assert {result.rule for result in report.results} == {"check.thresholds"}
    assert [result.place.line for result in report.results] == [5, 6]
    assert [result.summary for result in report.results] == [
        problem.message for problem in error.value.problems
    ]


def test_no_yaml_no_file_and_none_named(inside):
    Path("samattn.yaml").write_text("rules: [", "utf-8")
    (result,) = reported()[0].results
    assert (result.rule, result.place) == ("check.thresholds", Place("samattn.yaml", 2, 1))
    report, said = reported("--thresholds", "none.yaml")
    (result,) = report.results
    assert (report.thresholds, result.place, with_code(result)) == ("none.yaml", None, said)
    assert (said.partition(":")[0], result.code) == ("none.yaml", "file-not-found")
    Path("samattn.yaml").unlink()
    report, said = reported()
    assert (report.thresholds, with_code(report.results[0])) == ("samattn.yaml", said)
    assert (report.results[0].code, str(inside) in said) == ("no-thresholds", True)


def test_a_base_that_there_is_not(inside):
    report, said = reported("--base", "main")
    (result,) = report.results
    assert (result.rule, result.code, with_code(result)) == ("check.base", "no-repository", said)
    git(inside, "init", "-q")
    commit(inside)
    report, said = reported("--base", "nope")
    (result,) = report.results
    assert (result.rule, result.code, with_code(result)) == ("check.base", "unknown-ref", said)
    assert "'nope'" in said


def test_a_damaged_baseline(inside):
    folder(inside, DRIFT)
    Path("samattn-baseline.json").write_text("{", "utf-8")
    report, said = reported()
    (result,) = report.results
    assert result.rule == "check.baseline"
    assert said == f"{result.place}: {with_code(result)}"
    assert (result.place.file, result.code) == ("samattn-baseline.json", "not-json")
    Path("samattn-baseline.json").write_bytes(b"\xff")
    (result,) = reported()[0].results
    assert (result.rule, result.place, result.code) == ("check.baseline", None, "not-utf-8")


def test_in_the_terminal_it_is_reported_once_and_ci_is_too(inside, monkeypatch):
    Path("samattn.yaml").write_text("rules: [", "utf-8")
    for shown in ((), ("--format", "text"), ("--format", "terminal"), ("-o", "r.xml")):
        ran = CliRunner().invoke(app, ["check", *shown])
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert ran.stderr.splitlines()[0].startswith("samattn.yaml:2:1: not valid YAML")
    assert 'errors="1"' in Path("r.xml").read_text("utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(inside / "summary.md"))
    ran = CliRunner().invoke(app, ["check"])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[1].startswith(
        "::error file=samattn.yaml,line=2,col=1,title=check.thresholds::"
    )
    assert Path("summary.md").read_text("utf-8").startswith("<!-- samattn check: samattn.yaml -->\n### ❓")


def test_wrong_usage_makes_no_report():
    for wrong in (["-"], ["--fail-on", "eror"], ["--format", "txt"], ["-o", f"none{os.sep}r.xml"]):
        ran = CliRunner().invoke(app, ["check", *wrong, "-o", "r.json"])
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert not Path("r.json").exists()


def test_what_fails_and_what_exits_are_one():
    Path("samattn.yaml").write_text(
        Path("samattn.yaml").read_text("utf-8").replace("1 GFLOP", "{warn: 1 MFLOP}"), "utf-8"
    )
    for fail_on, code, failures in (("error", 0, 0), ("warn", 1, 1), ("never", 0, 0)):
        ran = CliRunner().invoke(app, ["check", "--fail-on", fail_on, "-f", "junit", "-o", "r.json"])
        assert ran.exit_code == code
        assert f'failures="{failures}"' in ran.stdout
        assert json.loads(Path("r.json").read_text("utf-8"))["fail_on"] == fail_on


def test_text_is_another_name_for_terminal():
    runner = CliRunner()
    terminal = runner.invoke(app, ["check", "--format", "terminal"]).stdout
    assert terminal.startswith("samattn check: samattn.yaml")
    assert runner.invoke(app, ["check", "--format", "text"]).stdout == terminal
    diff = ["diff", "encoders/small.yaml", "encoders/small.yaml", "--format"]
    assert runner.invoke(app, [*diff, "text"]).stdout == runner.invoke(app, [*diff, "terminal"]).stdout != ""
