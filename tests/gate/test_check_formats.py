import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from unicodedata import category
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from markdown_it.token import Token

from samattn_cli.cli.checkout import checkout
from samattn_cli.cli.github import SUMMARY_BYTES, under_github
from samattn_cli.cli.output import deliver, say
from samattn_cli.cli.output_files import output_files
from samattn_cli.errors import OutputError
from samattn_cli.gate.formats import CHECKS
from samattn_cli.gate.formats.comment import COMMENT_BYTES, comment, prose
from samattn_cli.gate.formats.github import command
from samattn_cli.gate.formats.words import beyond, figures, fingerprints, worst_first
from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.render import TEXTS, render
from samattn_cli.render.options import Checkout, Options
from samattn_cli.render.shield import shielded, visible
from samattn_cli.reports.diff import Place
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.units import format_amount, format_apart
from tests.support.check_reports import BROKEN, DRIFT, FITS, GIB, GROWTH, PASSED, REPORT, SAVING
from tests.support.running import UPDATE
from tests.support.sampling import examples

HERE = Path(__file__).parent.parent
SARIF = json.loads((HERE / "sarif-2.1.0-reduced.json").read_text("utf-8"))
FORMATS = (*TEXTS, *CHECKS)
FILE = Options()

GOLDEN = {
    "check-80.txt": ("terminal", Options(width=80)),
    "check-all-160.txt": ("terminal", Options(width=160, all_layers=True)),
    "check.csv": ("csv", Options()),
    "check.md": ("markdown", Options()),
    "check.xml": ("junit", Options()),
    "check.sarif": ("sarif", Options()),
    "check-gitlab.json": ("gitlab", Options()),
    "check-github.txt": ("github", Options()),
}


def shown(report: CheckReport, name: str, options: Options = FILE) -> str:
    return render(report, name, options)


def of(*results: Result) -> CheckReport:
    return replace(REPORT, results=results)


@pytest.mark.parametrize("name", GOLDEN)
def test_output_is_as_it_was(name: str) -> None:
    text, file = render(REPORT, *GOLDEN[name]), HERE / "golden" / name
    if UPDATE:
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


# What is said


def test_the_worst_comes_first_and_of_one_outcome_what_is_furthest_over() -> None:
    assert worst_first(REPORT.results) == [BROKEN, GROWTH, FITS, SAVING, DRIFT, PASSED]
    lines = [line for line in shown(REPORT, "terminal").splitlines() if line and line[0].isalpha()]
    assert [line.split()[0] for line in lines[1:]] == [
        "unchecked",
        "error",
        "error",
        "warn",
        "waived",
        "unchecked",
    ]
    assert lines[-1] == "unchecked  1 could not be checked, 2 errors, 1 warning, 1 waived, 1 passed"


def test_a_failure_says_all_there_is() -> None:
    text = shown(of(GROWTH), "terminal", Options(width=80))
    for part in (
        "growth: encoders/vit_h.yaml (serve)",
        "flops 5.96 TFLOP, limit 5.58 TFLOP, over by 380.6 GFLOP (6.82 %)",
        "5.47 TFLOP, base main (1a2b3c4)",
        *GROWTH.causes,
        "encoders/vit_h.yaml:9:22",
        "samattn.yaml:7:5",
        "samattn diff main:encoders/vit_h.yaml encoders/vit_h.yaml",
    ):
        assert part in text
    assert "Ask the vision-perf group" in shown(of(FITS), "terminal")


def test_figures_are_reported_once() -> None:
    summary = "flops is 5.96 TFLOP, over the limit of 5.5794 TFLOP by 380.6 GFLOP (6.82 %)"
    text = shown(of(replace(GROWTH, summary=summary)), "terminal")
    assert text.count("5.96 TFLOP") == text.count("380.6 GFLOP") == 1
    assert "\n  against  5.47 TFLOP" in text
    assert "\n  value " not in text


def test_what_is_to_be_copied_is_in_one_line_however_long() -> None:
    place, more = Place("encoders/" + "x" * 90 + ".yaml", 9, 22), "samattn diff " + "y z" * 40
    lines = shown(of(replace(GROWTH, place=place, command=more)), "terminal", Options(width=80)).splitlines()
    assert f"  at       {place}" in lines
    assert f"  more     {more}" in lines


@pytest.mark.parametrize("width", [80, 160])
def test_a_page_does_not_overflow(width: int) -> None:
    wide = [
        line for line in shown(REPORT, "terminal", Options(width=width)).splitlines() if len(line) > width
    ]
    assert wide == []


def test_passes_are_counted_and_listed_if_asked_for() -> None:
    assert "sam_vit_b" not in shown(of(PASSED), "terminal")
    assert shown(of(PASSED), "terminal").endswith("\npass  1 passed\n")
    listed = shown(of(PASSED), "terminal", Options(all_layers=True))
    assert re.search(r"fits +encoders/sam_vit_b.yaml +serve +peak_memory +2.00 GiB +6.00 GiB", listed)


def test_nothing_checked_is_not_a_pass() -> None:
    assert shown(of(), "terminal").endswith("\nunchecked  nothing to check\n")
    assert '"executionSuccessful": false' in shown(of(), "sarif")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (6 * GIB, "B", "6.00 GiB"),
        (7_247_757_312, "B", "6.75 GiB"),
        (-GIB, "B", "-1.00 GiB"),
        (5_960_000_000_000, "FLOP", "5.96 TFLOP"),
        (254.0, "MAC", "254 MAC"),
        (16_129, "params", "16.13 K params"),
        (3.14159, "ms", "3.14 ms"),
        (0.943, "%", "94.30 %"),
        (28, "", "28"),
        (3400.25, "", "3,400"),
        (0.94281, "", "0.9428"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert format_amount(value, unit) == text


def test_unequal_figures_look_unequal() -> None:
    assert format_apart("B", 6 * GIB + 1, 6 * GIB) == ("6,442,450,945 B", "6,442,450,944 B")
    assert format_apart("B", 6 * GIB, 6 * GIB) == ("6.00 GiB", "6.00 GiB")
    assert format_apart("%", 0.94301, 0.943) == ("94.301 %", "94.3 %")
    assert format_apart("", 1.00001, 1.0) == ("1.00001", "1")
    assert format_apart("ms", 998.4651990381104, 998.47) == ("998.465 ms", "998.47 ms")
    assert format_apart("B", 2**60 + 1, 2**60) == tuple(f"{2**60 + n:,} B" for n in (1, 0))
    assert figures(FITS) == {"value": "6,442,450,945 B", "limit": "6,442,450,944 B"}


@given(
    st.sampled_from(["B", "FLOP", "params", "ms", "", "%"]),
    st.floats(0, 1e15) | st.integers(0, 10**15),
    st.floats(0, 1e15) | st.integers(0, 10**15),
)
@settings(deadline=None, max_examples=examples(200))
def test_any_unequal_figures_look_unequal(unit: str, one: float, other: float) -> None:
    assert (len(set(format_apart(unit, one, other))) == 1) == (one == other)


def test_how_far_beyond() -> None:
    assert beyond(GROWTH) == "over by 380.6 GFLOP (6.82 %)"
    assert beyond(FITS) == "over by 1 B (<0.01 %)"
    assert beyond(SAVING) == "under by 2.05 points"
    assert beyond(replace(GROWTH, limit=0)) == "over by 380.6 GFLOP"
    assert beyond(replace(GROWTH, unit="ms", limit=0.001, excess=1e-5)) == "over by 1e-05 ms (1.00 %)"
    assert beyond(PASSED) == ""


# Each format by its consumer


def test_json_comes_back() -> None:
    assert from_json(to_json(REPORT)) == REPORT


def test_whole_numbers_stay_whole_beyond_what_a_float_holds() -> None:
    result = replace(REPORT.results[0], value=2**53 + 1, compared=2**53 + 3, limit=2**60 + 1, excess=5)
    report = replace(REPORT, results=(result,))
    assert from_json(to_json(report)).results[0] == result
    assert to_json(from_json(to_json(report))) == to_json(report)


def test_csv_has_a_row_each() -> None:
    rows = list(csv.DictReader(io.StringIO(shown(REPORT, "csv"))))
    assert [row["outcome"] for row in rows] == [result.outcome for result in REPORT.results]
    assert rows[0]["value"] == "6442450945"
    assert rows[2]["causes"].splitlines() == list(GROWTH.causes)
    assert rows[2]["place"] == "encoders/vit_h.yaml:9:22"


def test_junit_as_a_ci_reads_it() -> None:
    (suite,) = JUnitXml.fromstring(shown(REPORT, "junit").encode())
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == (
        "samattn.yaml",
        6,
        2,
        1,
        1,
    )
    cases = {(case.classname, case.name): case for case in suite}
    assert len(cases) == 6
    (failure,) = cases["samattn.growth", "encoders/vit_h.yaml [serve]"].result
    assert isinstance(failure, Failure)
    assert failure.message == GROWTH.summary
    assert "\ncause: global_attn_indexes: added 3\n" in failure.text
    assert isinstance(cases["samattn.config", "encoders/broken.yaml"].result[0], Error)
    assert isinstance(cases["samattn.drift", "encoders/vit_l.yaml [serve]"].result[0], Skipped)
    warned = cases["samattn.saving", "encoders/sam_vit_b.yaml [serve]"]
    assert warned.is_passed
    assert warned.system_out.startswith("warning: the saving is 92.15 %")
    assert cases["samattn.fits", "encoders/sam_vit_b.yaml [serve]"].is_passed


# Of Jenkins' junit-10.xsd: the attributes that it allows, required ones with an exclamation mark, and what may be within.
JUNIT_10 = {
    "testsuites": ("name time tests failures errors", "testsuite"),
    "testsuite": (
        "name! tests! failures! errors! group time skipped timestamp hostname id package file log url",
        "testsuite properties testcase system-out system-err",
    ),
    "testcase": ("name! time classname group", "skipped error failure system-out system-err"),
    "failure": ("type message", ""),
    "error": ("type message", ""),
    "skipped": ("type message", ""),
    "system-out": ("", ""),
}


def junit_is_valid(root: ET.Element) -> bool:
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, within = (part.split() for part in JUNIT_10[element.tag])
        assert set(element.attrib) <= {name.rstrip("!") for name in attributes}
        assert {name[:-1] for name in attributes if name.endswith("!")} <= set(element.attrib)
        assert {child.tag for child in element} <= set(within)
    return True


def test_junit_is_valid() -> None:
    assert junit_is_valid(ET.fromstring(shown(REPORT, "junit")))


def test_sarif_is_valid_and_points_at_places() -> None:
    log = json.loads(shown(REPORT, "sarif"))
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    results = {result["ruleId"]: result for result in run["results"]}
    assert {rule: result["level"] for rule, result in results.items()} == {
        "config": "error",
        "growth": "error",
        "fits": "error",
        "saving": "warning",
        "drift": "note",
    }
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    physical = results["growth"]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "encoders/vit_h.yaml", "uriBaseId": "%SRCROOT%"}
    assert physical["region"] == {"startLine": 9, "startColumn": 22}
    assert [rule for rule, result in results.items() if "suppressions" in result] == ["drift"]
    assert run["invocations"] == [{"executionSuccessful": False}]


def test_the_schema_would_refuse() -> None:
    log = json.loads(shown(REPORT, "sarif"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, SARIF)


def test_sarif_says_literally_what_would_be_a_placeholder_or_a_link() -> None:
    odd = replace(FITS, summary="{0} [here](https://example.com)")
    message = json.loads(shown(of(odd), "sarif"))["runs"][0]["results"][0]["message"]["text"]
    assert message.startswith("{{0}} [here] (https://example.com)\n")


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b/ü%.yaml", "a%20b/%C3%BC%25.yaml"),
        ("./e/x.yaml", "e/x.yaml"),
        ("/abs/x.yaml", "file:///abs/x.yaml"),
    ],
)
def test_places_are_uris_in_sarif(file: str, uri: str) -> None:
    result = json.loads(shown(of(replace(FITS, place=Place(file, 1))), "sarif"))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def gitlab_is_valid(entries: list[dict]) -> bool:
    for entry in entries:
        assert isinstance(entry["description"], str)
        assert isinstance(entry["check_name"], str)
        assert re.fullmatch(r"[0-9a-f]{64}", entry["fingerprint"])
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert not entry["location"]["path"].startswith("./")
        assert entry["location"]["lines"]["begin"] >= 1
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    return True


def test_gitlab_has_what_it_requires() -> None:
    entries = json.loads(shown(REPORT, "gitlab"))
    assert gitlab_is_valid(entries)
    assert [entry["severity"] for entry in entries] == ["blocker", "critical", "critical", "minor", "info"]
    assert entries[1]["location"] == {"path": "encoders/vit_h.yaml", "lines": {"begin": 9}}
    assert entries[3]["location"] == {"path": "samattn.yaml", "lines": {"begin": 8}}
    assert shown(of(PASSED), "gitlab") == "[]\n"


def test_fingerprints_outlive_figures_lines_and_words() -> None:
    later = replace(GROWTH, value=7e12, excess=1e12, place=Place("encoders/vit_h.yaml", 99), summary="else")
    before = fingerprints([GROWTH, FITS])
    assert fingerprints([FITS, later]) == before[::-1]
    others = [replace(GROWTH, **{name: "other"}) for name in ("rule", "config", "profile", "metric")]
    assert len({*before, *fingerprints([*others, GROWTH, GROWTH])}) == 7


# GitHub: cases of actions/toolkit's own tests (packages/core/__tests__/command.test.ts)


def test_commands_are_escaped_as_the_toolkit_does() -> None:
    assert command("some-command", {}, "") == "::some-command::"
    assert command("c", {}, "percent % cr \r lf \n") == "::c::percent %25 cr %0D lf %0A"
    assert command("c", {}, "%25 %0D : ,") == "::c::%2525 %250D : ,"
    assert command("c", {"p": "% \r \n : ,", "q": "", "r": "2"}, "m") == "::c p=%25 %0D %0A %3A %2C,r=2::m"


LEVEL = re.compile(r"::(error|warning|notice) ")


def levels(text: str) -> list[str]:
    return [LEVEL.match(line)[1] for line in text.splitlines()]


def test_annotations_are_within_githubs_caps_worst_first() -> None:
    errors = [replace(GROWTH, config=f"e{number}.yaml", excess=number * 10**9) for number in range(1, 26)]
    warnings = [replace(SAVING, config=f"w{number}.yaml") for number in range(12)]
    lines = shown(of(*errors, *warnings, DRIFT, PASSED), "github").splitlines()
    assert levels("\n".join(lines)) == ["error"] * 10 + ["warning"] * 10 + ["notice"]
    assert "title=growth%3A e25.yaml (serve)::" in lines[0]
    assert lines[-1] == (
        "::notice title=samattn check::also 15 errors, 2 warnings, 1 waived: see the summary or the log"
    )


def test_an_annotation_is_at_its_place() -> None:
    (line,) = shown(of(GROWTH), "github").splitlines()
    assert line.startswith(
        "::error file=encoders/vit_h.yaml,line=9,col=22,title=growth%3A encoders/vit_h.yaml ("
    )
    assert "more than +2 %25%0Avalue: flops" in line
    assert shown(of(PASSED), "github") == ""


def test_a_huge_message_is_cut() -> None:
    (line,) = shown(of(replace(GROWTH, summary="%" * 10**6)), "github").splitlines()
    assert len(line.encode()) < 64 * 1024


UNDER = {"GITHUB_ACTIONS": "true"}


def test_under_github_files_are_annotated_and_the_summary_is_added_to(tmp_path, capsys) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("of a step before\n", "utf-8")
    under_github(REPORT, UNDER | {"GITHUB_STEP_SUMMARY": str(summary)}, FILE)
    written = capsys.readouterr()
    assert written.out == ""  # which may be a file
    assert written.err == shown(REPORT, "github")
    assert summary.read_text("utf-8") == "of a step before\n" + shown(REPORT, "markdown")
    under_github(REPORT, UNDER, FILE, annotate=False)
    assert capsys.readouterr().err == ""


def test_elsewhere_nothing_is_written(tmp_path, capsys) -> None:
    summary = tmp_path / "summary.md"
    under_github(REPORT, {"GITHUB_STEP_SUMMARY": str(summary)}, FILE)
    assert capsys.readouterr() == ("", "")
    assert not summary.exists()


def test_a_summary_that_cannot_be_written_is_reported_and_fails_nothing(tmp_path, capsys) -> None:
    under_github(of(PASSED), UNDER | {"GITHUB_STEP_SUMMARY": str(tmp_path)}, FILE)
    assert capsys.readouterr().err.endswith(f": {tmp_path}: Is a directory [no-step-summary]\n")


def many(number: int) -> CheckReport:
    return of(*(replace(GROWTH, config=f"encoders/{index}.yaml") for index in range(number)))


def test_the_summary_is_within_its_cap(tmp_path, capsys) -> None:
    summary = tmp_path / "summary.md"
    summary.write_bytes(b"x" * (SUMMARY_BYTES - 50_000))
    under_github(many(9000), UNDER | {"GITHUB_STEP_SUMMARY": str(summary)}, FILE, annotate=False)
    assert SUMMARY_BYTES - 500 < summary.stat().st_size <= SUMMARY_BYTES
    summary.write_bytes(b"x" * SUMMARY_BYTES)
    under_github(many(9), UNDER | {"GITHUB_STEP_SUMMARY": str(summary)}, FILE, annotate=False)
    assert capsys.readouterr().err.endswith(f": {summary} is full [no-step-summary]\n")
    assert summary.stat().st_size == SUMMARY_BYTES


def places(report: CheckReport, options: Options) -> list[str]:
    """The file that SARIF, GitLab and GitHub point at, of a report with one result."""
    (result,) = json.loads(shown(report, "sarif", options))["runs"][0]["results"]
    (entry,) = json.loads(shown(report, "gitlab", options))
    command = re.match(r"::error file=([^,]+),line=(\d+)", shown(report, "github", options))
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    return [uri, entry["location"]["path"], command[1]]


def test_below_the_root_of_the_repository_places_are_from_there(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert checkout({}) is None
    ci = checkout({"CI_PROJECT_DIR": str(tmp_path), "GITHUB_WORKSPACE": str(tmp_path / "other")})
    (tmp_path / ".git").write_text("gitdir: elsewhere\n", "utf-8")  # of a worktree
    options = Options(checkout=checkout({}))
    assert options.checkout == ci == Checkout(str(tmp_path), str(tmp_path / "sub"))
    for file in ("encoders/vit_h.yaml", "./encoders/vit_h.yaml", f"{tmp_path}/sub/encoders/vit_h.yaml"):
        here = of(replace(GROWTH, place=Place(file, 9)))
        assert places(here, options) == ["sub/encoders/vit_h.yaml"] * 3
    assert places(of(replace(BROKEN, place=None)), options) == ["sub/samattn.yaml"] * 3
    assert places(of(replace(GROWTH, place=Place("../a.yaml"))), options) == ["a.yaml"] * 3
    assert places(of(replace(GROWTH, place=Place("../../a.yaml"))), options) == ["../a.yaml"] * 3
    outside = places(of(replace(GROWTH, place=Place("/else/a.yaml"))), options)
    assert outside == ["file:///else/a.yaml", "/else/a.yaml", "/else/a.yaml"]
    under_github(of(GROWTH), UNDER, options)
    assert capsys.readouterr().err.startswith("::error file=sub/encoders/vit_h.yaml,line=9,col=22")


def test_fingerprints_are_the_same_from_every_folder() -> None:
    root, below = Options(checkout=Checkout("/r", "/r")), Options(checkout=Checkout("/r", "/r/sub"))
    preset = replace(FITS, config="sam_vit_b")
    there = of(preset, replace(FITS, config="sub/a.yaml"), replace(FITS, config="b.yaml"))
    here = of(preset, replace(FITS, config="a.yaml"), replace(FITS, config="../b.yaml"))
    names = [
        [entry["fingerprint"] for entry in json.loads(shown(*of_folder))]
        for of_folder in ((there, "gitlab", root), (here, "gitlab", below), (there, "gitlab", FILE))
    ]
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == 3


# --fail-on


def test_a_warning_that_fails_is_a_failure_in_every_format() -> None:
    report = replace(of(SAVING, PASSED, DRIFT), fail_on="warn")
    assert report.fails(SAVING)
    (suite,) = JUnitXml.fromstring(shown(report, "junit").encode())
    assert (suite.failures, suite.errors, suite.skipped) == (1, 0, 1)
    assert [case.is_passed for case in suite] == [False, True, False]
    assert junit_is_valid(ET.fromstring(shown(report, "junit")))
    levels_ = [result["level"] for result in json.loads(shown(report, "sarif"))["runs"][0]["results"]]
    assert levels_ == ["error", "note"]
    assert [entry["severity"] for entry in json.loads(shown(report, "gitlab"))] == ["critical", "info"]
    assert levels(shown(report, "github")) == ["error", "notice"]
    text = shown(report, "markdown")
    assert "### ❌ samattn check: 1 warning, 1 waived, 1 passed (warnings fail)\n" in text
    assert "| ❌ warning | `saving` |" in text
    assert shown(report, "terminal").endswith("\nerror  1 warning, 1 waived, 1 passed (warnings fail)\n")
    assert json.loads(to_json(report))["results"][0]["outcome"] == "warn"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "json"])
def test_that_nothing_fails_makes_no_finding_less(name: str) -> None:
    report = replace(REPORT, fail_on="never")
    assert not any(map(report.fails, report.results))
    assert shown(report, name) == shown(REPORT, name)


def test_what_could_not_be_checked_is_not_what_fails() -> None:
    assert not replace(REPORT, fail_on="warn").fails(BROKEN)  # it exits 2, whatever fails
    assert replace(REPORT, fail_on="warn").verdict == "unchecked"


def test_a_report_of_before_there_was_fail_on_comes_back() -> None:
    data = json.loads(to_json(REPORT))
    del data["fail_on"]
    assert from_json(json.dumps(data)) == REPORT


def test_text_that_github_would_obey_is_shielded() -> None:
    plain = shown(REPORT, "terminal")
    assert shielded(plain, UNDER) == plain
    for message in ("::add-mask::x", "##[add-path]x"):
        text = shown(of(replace(FITS, advice=message)), "terminal")
        assert shielded(text, {}) == text
        found = re.fullmatch(
            r"::stop-commands::(\w{64})\n(.*)::(\w{64})::\n", shielded(text, UNDER), re.DOTALL
        )
        assert found
        assert (found[1], found[2]) == (found[3], text)


def test_a_message_is_no_workflow_command_in_a_comment_that_is_printed() -> None:
    assert prose("::add-mask::a") == r"\::add-mask::a"
    assert prose(" ::add-mask::a") == r"\::add-mask::a"
    assert prose("a ::b") == "a ::b"
    assert MarkdownIt().render(prose("::add-mask::a")).strip() == "<p>::add-mask::a</p>"


def test_only_what_is_to_be_read_is_shielded(monkeypatch, capsys) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    odd = of(replace(FITS, advice="##[group]x"))
    deliver(odd, None, {}, FILE)
    assert capsys.readouterr().out.startswith("::stop-commands::")
    deliver(odd, "terminal", {}, FILE)
    assert capsys.readouterr().out.startswith("::stop-commands::")
    deliver(odd, "github", {}, FILE)
    assert capsys.readouterr().out == shown(odd, "github")
    say("broken.yaml: unknown key\n::add-mask::x", style="red")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("::stop-commands::")
    assert lines[1:] == ["broken.yaml: unknown key", "::add-mask::x", f"::{lines[0][17:]}::"]


# The comment


def test_the_marker_is_first_and_of_the_thresholds_file() -> None:
    assert shown(REPORT, "markdown").startswith("<!-- samattn check: samattn.yaml -->\n")
    odd = shown(replace(REPORT, thresholds="a --> <b>.yaml"), "markdown")
    assert odd.startswith("<!-- samattn check: a --%3E %3Cb%3E.yaml -->\n")


@pytest.mark.parametrize("number", [5, 150, 5000])
def test_a_comment_is_within_githubs_limit(number: int) -> None:
    text = comment(many(number), COMMENT_BYTES)
    assert len(text.encode()) <= COMMENT_BYTES
    rows, details = text.count("| ❌ error |"), text.count("<details>")
    assert text.count("</details>") == details
    assert f"{number:,} errors" in text
    if rows < number:
        assert details == 0
        assert text.endswith(f"\n{number - rows} more are not shown.\n")
    elif details < number:
        assert text.endswith(f"\nThe details of {number - details} more are not shown.\n")
    assert (rows, details) == (5, 5) or number > 5
    assert rows == min(number, rows)


def test_prose_is_only_said() -> None:
    assert prose("- a") == "\\- a"
    assert prose("1. a") == "1\\. a"
    assert prose("1.5 GiB") == "1.5 GiB"
    assert prose("@me #1 <b> a_b") == "@&#8203;me #&#8203;1 &lt;b&gt; a\\_b"
    assert prose("see https://example.com/a_b.") == "see <https://example.com/a_b.>"


# Anything at all


NASTY = [
    "-->",
    "--!>",
    "]]>",
    "<script>",
    "</details>",
    "</code>",
    "&amp;",
    "|",
    "\\|",
    "::error::x",
    "::",
    "\n::stop-commands::x",
    "##[error]",
    "`",
    "```\n",
    "~~~",
    "\\",
    "[a](javascript:x)",
    "![a](https://x.y)",
    "@all",
    "#1",
    "\n# h",
    "\n- l",
    "1. ",
    "{0}",
    "%0A",
    "%",
    ",",
    ":",
    '"',
    "'",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\uffff",
    "\ud800",
    "\udce9",
    "😀",
    "é",
    "=1+1",
    "    x",
    "$x$",
    "https://x.y/z",
]
TEXT = st.lists(st.sampled_from(NASTY) | st.text(max_size=3), min_size=1, max_size=4).map("".join)
NUMBERS = (None, None, 0, 1, -1, 6 * GIB, 6 * GIB + 1, -(10**20), 0.943, 1e-9, -2.5, 5e-324, 1e300)
OUTCOMES = ("pass", "waived", "warn", "error", "unchecked")
UNITS = ("B", "FLOP", "MAC", "ms", "params", "", "%")


def drawn_result(texts: list[str], random: Random) -> Result:
    def some() -> str:
        return random.choice(texts)

    def place() -> Place | None:
        return random.choice([None, Place(some(), random.choice([None, 7]), random.choice([None, 3]))])

    names = ("rule", "config", "profile", "metric", "compared_with", "summary", "advice", "command")
    return Result(
        outcome=random.choice(OUTCOMES),
        unit=random.choice([*UNITS, some()]),
        place=place(),
        rule_place=place(),
        causes=tuple(some() for _ in range(random.randrange(3))),
        **{name: some() for name in names},
        **{name: random.choice(NUMBERS) for name in ("value", "compared", "limit", "excess")},
    )


@st.composite
def reports(draw) -> CheckReport:
    """Texts and figures in any place; few draws, so that many reports are made in little time."""
    texts, random = draw(st.lists(TEXT, min_size=1, max_size=5)), draw(st.randoms(use_true_random=False))
    texts.append("")
    results = tuple(drawn_result(texts, random) for _ in range(random.randrange(5)))
    return CheckReport(
        thresholds=random.choice(texts), configs=tuple(texts), base=random.choice(texts), results=results
    )


REPORTS = reports()
fuzzed = partial(settings, deadline=None, max_examples=examples(100))


def failing(report: CheckReport) -> list[Result]:
    return [result for result in report.results if result.outcome != "pass"]


@given(REPORTS)
@fuzzed()
def test_any_report_is_legal_text_in_every_format(report: CheckReport) -> None:
    for name in FORMATS:
        text = shown(report, name, Options(width=80, all_layers=True))
        assert all(c == "\n" or c.isprintable() or category(c) == "Zs" for c in text), name  # Zs: spaces
        text.encode()


@given(REPORTS)
@fuzzed()
def test_any_report_comes_back_from_json(report: CheckReport) -> None:
    assert json.loads(to_json(report)) == json.loads(json.dumps(asdict(report)))


@given(REPORTS)
@fuzzed()
def test_any_report_is_valid_junit(report: CheckReport) -> None:
    text = shown(report, "junit")
    assert junit_is_valid(ET.fromstring(text))
    (suite,) = JUnitXml.fromstring(text.encode())
    assert suite.name == visible(report.thresholds)
    assert suite.tests == len(list(suite)) == len(report.results)
    for case, result in zip(suite, report.results, strict=True):
        assert case.classname == f"samattn.{visible(result.rule)}"
        assert case.is_passed == (result.outcome in {"pass", "warn"})


@given(REPORTS)
@fuzzed()
def test_any_report_is_valid_sarif_and_gitlabs(report: CheckReport) -> None:
    log = json.loads(shown(report, "sarif"))
    jsonschema.Draft4Validator(SARIF).validate(log)
    results = log["runs"][0]["results"]
    assert len(results) == len(failing(report))
    for result in results:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file:/)?[A-Za-z0-9._~/%-]+", uri)
        unquote(uri, errors="strict")
    entries = json.loads(shown(report, "gitlab"))
    assert gitlab_is_valid(entries)
    assert len(entries) == len(failing(report))


COMMAND = re.compile(r"::(error|warning|notice) (\w+=[^:,]+(?:,\w+=[^:,]+)*)::(.*)")


@given(REPORTS)
@fuzzed()
def test_any_report_is_one_command_a_failure(report: CheckReport) -> None:
    lines = shown(report, "github").splitlines()
    annotated = [result for result in failing(report) if result.outcome != "waived"]
    assert len(lines) == len(annotated) + any(result.outcome == "waived" for result in report.results)
    for line in lines:
        found = COMMAND.fullmatch(line)
        assert found
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", line)
        properties = [pair.partition("=")[0] for pair in found[2].split(",")]
        assert [name for name in ("file", "line", "col", "title") if name in properties] == properties


MARKDOWN = MarkdownIt("commonmark").enable("table")
OWN_HTML = re.compile(
    r"<!-- samattn check: [^<>]* -->\n|<details><summary>\w+: <code>[^<>]*</code></summary>\n|</details>\n?"
)


@given(REPORTS)
@fuzzed()
def test_any_report_is_a_comment_with_nothing_injected(report: CheckReport) -> None:
    text = shown(report, "markdown")
    tokens = MARKDOWN.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    html = [token.content for token in tokens if token.type == "html_block"]
    assert all(map(OWN_HTML.fullmatch, html)), html
    failures = len(failing(report))
    assert len(html) == 1 + 2 * failures
    assert [token.type for token in tokens].count("heading_open") == 1
    assert [token.type for token in tokens].count("tr_open") == (failures + 1 if failures else 0)
    cells = [token for before, token in pairwise(tokens) if before.type == "td_open"]
    for cell, result in zip(cells[1::6], worst_first(failing(report)), strict=True):
        told = "".join(child.content for child in cell.children if child.type != "html_inline")
        assert told.replace(" ", "") == visible(result.rule).replace(" ", "")
    assert not {"bullet_list_open", "ordered_list_open", "hr", "code_block", "blockquote_open"} & {
        token.type for token in tokens
    }
    assert {token.content for token in inline if token.type == "html_inline"} <= {"<br>", "<code>", "</code>"}
    assert {token.type for token in inline} <= {
        "text",
        "text_special",
        "code_inline",
        "html_inline",
        "link_open",
        "link_close",
    }
    assert all(token.attrs["href"].startswith("http") for token in inline if token.type == "link_open")
    assert not re.search(r"[@#](?!\u200b)", "".join(said(inline)))


def said(inline: list[Token]) -> Iterator[str]:
    """What stands neither in code nor in a link: where GitHub looks for mentions and references."""
    inside = False
    for token in inline:
        if token.type in {"html_inline", "link_open", "link_close"} and token.content != "<br>":
            inside = not inside
        elif token.type == "text" and not inside:
            yield token.content


@given(REPORTS)
@fuzzed()
def test_any_report_is_a_table(report: CheckReport) -> None:
    if report.results:
        rows = list(csv.DictReader(io.StringIO(shown(report, "csv"), newline="")))
        assert [row["config"] for row in rows] == [visible(result.config) for result in report.results]
        assert [row["advice"] for row in rows] == [visible(result.advice, "\n") for result in report.results]


# Which file is in which format


def test_formats_of_files(tmp_path) -> None:
    asked = [
        "report.json",
        "r.xml",
        "r.SARIF",
        "gitlab=gl.json",
        "github=annotations",
        "csv=table.data",
        "text=readable",
        "r.txt",
        "r.md",
    ]
    files = output_files(
        [Path(text.replace("=", f"={tmp_path}/")) if "=" in text else tmp_path / text for text in asked],
        FORMATS,
    )
    assert list(files.values()) == [
        "json",
        "junit",
        "sarif",
        "gitlab",
        "github",
        "csv",
        "terminal",
        "terminal",
        "markdown",
    ]
    assert [path.name for path in files][3:6] == ["gl.json", "annotations", "table.data"]


def test_a_file_twice_or_of_no_format_is_refused(tmp_path) -> None:
    twice = tmp_path / "a.json"
    with pytest.raises(OutputError, match=r"a\.json is given twice"):
        output_files([twice, Path(f"gitlab={twice}")], FORMATS)
    with pytest.raises(OutputError, match=r"must be one of \.txt, \.json, \.csv, \.md, \.xml, \.sarif"):
        output_files([tmp_path / "a.svg"], FORMATS)
    with pytest.raises(OutputError, match=r"'sarif'.* json.*\[unknown-format\]"):
        output_files([Path("sarif=a.html")], ("json",))


def test_what_is_no_format_is_no_part_of_a_file_name():
    with pytest.raises(OutputError, match=r"'jnuit'.*did you mean 'junit'.*\[unknown-format\]"):
        output_files([Path("jnuit=report.xml")], FORMATS)
