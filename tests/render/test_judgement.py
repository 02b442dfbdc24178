"""Predicted memory next to measured memory, in every form."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from samattn_cli.files.load import load_config
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.reports.judgement import Errors, JudgedCase, JudgedPeak, Judgement
from tests.support.html_pages import Outline

NAME = '</script><b onmouseover="x">'
CONFIG = load_config(
    {"name": NAME, "image_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2}
)
WHOLE = JudgedPeak("encoder", "pass", 1010, 1000, 0.01)
NECK = JudgedPeak("neck", "forward", 900, 1000, -0.1, by_cudnn=True)
BLOCK = JudgedPeak("blocks.0", "forward", 1005, 1000, 0.005)
CASE = JudgedCase(CONFIG, "NVIDIA <H200>", "cuda", "", 0, WHOLE, (NECK, BLOCK))
FAILED = replace(CASE, message="out of memory & more", whole=None, layers=())


def judgement(*cases: JudgedCase) -> Judgement:
    return Judgement(cases=cases, whole_errors=Errors(0.01, 0.01), layer_errors=Errors(0.005, 0.005))


REPORT = judgement(CASE, FAILED)


def test_the_verdict_is_first_and_the_worst_layer_is_one_that_is_judged() -> None:
    lines = render(REPORT, "terminal", Options(width=120)).splitlines()
    assert lines[1:4] == [
        "✓ within 1.00 %: every error that is judged",
        "  Whole pass: worst 1.00 %, median 1.00 %",
        "  Layers: worst 0.50 %, median 0.50 %",
    ]
    [row] = [line for line in lines if line.startswith("1  ")]
    assert row.endswith("+1.00 %  blocks.0 forward  +0.50 %")
    assert "  - 2: not judged: out of memory & more" in lines


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (replace(CASE, whole=replace(WHOLE, error=0.02)), "✗ not within 1.00 %: an error is larger"),
        (replace(CASE, layers=(replace(NECK, by_cudnn=False),)), "✗ not within 1.00 %: an error is larger"),
        (replace(CASE, kind="cpu"), "! not judged: it was measured on a CPU, and predictions are of CUDA"),
    ],
)
def test_an_error_that_is_larger_is_said_and_a_cpu_is_not_judged(case: JudgedCase, verdict: str) -> None:
    assert render(judgement(case), "terminal", Options()).splitlines()[1] == verdict


def test_a_row_is_a_peak() -> None:
    rows = list(csv.DictReader(io.StringIO(render(REPORT, "csv", Options()))))
    assert [(row["case"], row["layer"], row["predicted_bytes"], row["error"]) for row in rows] == [
        ("1", "encoder", "1010", "0.01"),
        ("1", "neck", "900", "-0.1"),
        ("1", "blocks.0", "1005", "0.005"),
        ("2", "", "", ""),
    ]
    assert rows[-1]["message"] == "out of memory & more"


def test_a_page_has_the_verdict_and_how_each_figure_is_known() -> None:
    outline = Outline(render(REPORT, "html", Options(command=("verify", "--measured", "r.json"))))
    assert not outline.open
    assert not outline.of("b")
    assert "samattn verify --measured r.json" in outline.text("code")
    text = " ".join(text for _, text in outline.texts)
    assert "out of memory & more" in text
    assert "through the rules of torch's memory allocator" in text
    assert "by samattn measure" in text
    dry = render(judgement(replace(CASE, kind="dry")), "html", Options())
    assert "allocations real" in dry
    assert "by samattn measure" not in dry
    assert "✓" in REPORT._repr_html_()
