"""`python -m tests.refresh` runs every test that writes, and puts tables where they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.public.counts import HEADER
from tests.refresh import ROOT, put_table, updating


def test_every_test_that_knows_of_updating_is_run():
    knows = {path for path in ROOT.glob("tests/*/test_*.py") if " UPDATE" in path.read_text("utf-8")}
    assert {ROOT / path for path in updating()} == knows - {ROOT / "tests" / "render" / "test_refresh.py"}
    assert {"tests/render/test_golden.py", "tests/cli/test_readme.py"} <= set(updating())


def test_a_table_is_put_where_it_is_and_nothing_else_changes(tmp_path):
    page = tmp_path / "page.md"
    text = f"# Page\n\n{HEADER}| a | 1 |\n| b | 2 |\n\nMore.\n"
    page.write_text(text, "utf-8")
    put_table(page, HEADER, ["| a | 1 |", "| b | 2 |"])
    assert page.read_text("utf-8") == text
    put_table(page, HEADER, ["| c | 3 |"])
    assert page.read_text("utf-8") == f"# Page\n\n{HEADER}| c | 3 |\n\nMore.\n"
    with pytest.raises(AssertionError, match="no such table"):
        put_table(page, "| other |\n", [])


def test_what_is_unknown_is_refused():
    command = [sys.executable, "-m", "tests.refresh", "everything"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "everything; choose from outputs, counts, memory, whole_sam, compiled" in result.stderr
