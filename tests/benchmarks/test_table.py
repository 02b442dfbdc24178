"""The table of issue 20: what it says of a target, of a row that fails, and of packages that the commit does not pin."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks import rows_forward, rows_search, table
from tests.benchmarks.machine import differing
from tests.benchmarks.measuring import Line, Trees, Used
from tests.support.running import ROOT

TREES = Trees(Path(), Path(), Path())
MET = Line("a", 10.0, 1.0, "s", 0.12, "equal", peaks=(2_000_000, 1_000_000))
MISSED = Line("a|b", 2.0, 1.5, "x", 1.2)


def met(_):
    yield MET


def stops(_):
    yield MISSED
    sys.exit("sweep exits\nwith 2")


def test_a_target_is_a_share_of_today_or_a_limit():
    assert MET.met
    assert not Line("a", 10.0, 1.3, "s", 0.12).met
    assert not MISSED.met
    assert Line("a", None, 1.5, "s", 2.0, limited=True).met
    assert not Line("a", None, 1.5, "s", 2.0, limited=True, wrong="files differ").met


def test_a_row_that_fails_is_shown_and_the_others_go_on(capsys):
    lines = list(table.told(table.measured({"stops": stops, "met": met}, TREES)))
    assert lines == [MISSED, "stops: sweep exits\nwith 2", MET]
    assert table.total(lines) == "1 of 2 targets are met; 1 rows failed"
    printed = capsys.readouterr()
    assert "FAILED stops: sweep exits\nwith 2\na" in printed.out
    assert "[2/2] met" in printed.err
    assert table.markdown(["Head."], lines).splitlines() == [
        "Head.",
        "",
        "| what | today | now | ratio | target | | peak today | peak now | remark |",
        "| :-- | --: | --: | --: | --: | :-- | --: | --: | :-- |",
        r"| a\|b | 2.000x | 1.500x | 0.750 | 1.200x | missed | - | - |  |",
        "| stops | | | | | failed | | | sweep exits with 2 |",
        "| a | 10.00 s | 1.00 s | 0.100 | 0.12 | met | 2 MB | 1 MB | equal |",
        "",
        "1 of 2 targets are met; 1 rows failed.",
    ]


def test_a_file_that_could_not_be_written_is_refused_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        table.asked(["-o", str(tmp_path / "no" / "table.md")])
    assert stopped.value.code == 2
    assert "the folder does not exist" in capsys.readouterr().err


def test_packages_of_another_version_are_named():
    import yaml

    other = f"pyyaml=={yaml.__version__}.9\nnumpy==1.0; python_version < '3'\nnot-installed==1.0  # so not needed\n"
    assert differing(other) == [f"pyyaml=={yaml.__version__}.9 (here {yaml.__version__})"]


@pytest.mark.parametrize(
    "name", ["check", "check-base", "search", "search-64", "fit-vit", "analyze", "verify-qwen"]
)
def test_a_row_has_its_lines(name, monkeypatch, tmp_path):
    """With programs that take nothing: what a row asks for, and what it makes of it."""
    ran = []
    for rows in (rows_search, rows_forward):
        monkeypatch.setattr(rows, "run", lambda tree, *_, **__: ran.append(tree) or Used(2.0, 3_000_000))
    monkeypatch.setattr(rows_forward, "instructions", lambda *_: 1_000_000)
    monkeypatch.setattr(rows_search, "commit", ran.append)
    lines = list(table.ROWS[name](Trees(ROOT, tmp_path / "now", tmp_path)))
    assert lines[0].now in {1.0, 2.0}
    assert lines[0].today in {1.0, 2.0} or name == "search-64"
    assert tmp_path / "now" in ran
