"""Reports in a notebook: each kind shows itself, its styles stay inside, and its rows become a DataFrame."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from samattn_cli import (
    Grid,
    SamattnError,
    analyze,
    compare_placements,
    explain,
    from_json,
    load_config,
    sweep,
    to_json,
)
from samattn_cli.cli.output_files import output_files
from samattn_cli.errors import OutputError
from samattn_cli.records import replace
from samattn_cli.render import FORMATS, LAYOUTS, render_file
from samattn_cli.render.options import Options
from samattn_cli.render.web.style import IN_A_NOTEBOOK, of_a_notebook
from samattn_cli.reports.shown import Shown
from samattn_cli.reports.text import KINDS, TRACED, TRACED_REPORT
from tests.support.html_pages import Outline

SMALL = load_config("sam_vit_b", ["image_size=224", "depth=2", "global_attn_indexes=[1]", "name=small"])
HOSTILE = "</style><b onclick='x'>"


def test_an_analysis_shows_its_answer_its_picture_and_its_tables() -> None:
    report = analyze(SMALL, verify=False)
    outline = Outline(report._repr_html_())
    assert not outline.open
    assert outline.text("div").count("224x224, batch 1: ") == 1
    assert "Layers" in outline.text("summary")
    assert len(outline.of("svg")) == 1
    assert f"{report.totals.peak_bytes:,} B" in {tag.get("title") for tag in outline.of("data")}
    assert not outline.of("script", "link", "html", "body", "h1")


def test_a_check_that_was_read_from_json_shows_itself() -> None:
    text = '{"kind": "check", "thresholds": "t.yaml", "configs": [], "base": "", "fail_on": "error", "results": []}'
    assert "t.yaml" in Outline(from_json(text)._repr_html_()).text("p")


def test_two_cells_do_not_share_the_names_of_their_places() -> None:
    reports = (analyze(SMALL, verify=False), explain(SMALL, "0"), explain(SMALL, "1"))
    names = [
        {tag["id"] for _, tag in Outline(report._repr_html_()).tags if "id" in tag} for report in reports
    ]
    assert all(names)
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]
    assert reports[0]._repr_html_() == reports[0]._repr_html_()


def test_each_rule_of_the_style_is_of_the_report_alone() -> None:
    style = re.sub(r"@media[^{]*\{(.*)\}\n", r"\1\n", of_a_notebook())
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", style)
    assert len(rules) > 30
    for selectors in rules:
        assert all(f".{IN_A_NOTEBOOK}" in selector for selector in selectors.split(",")), selectors


def test_other_peoples_names_stay_text() -> None:
    report = analyze(replace(SMALL, name=HOSTILE), verify=False)
    outline = Outline(report._repr_html_())
    assert not outline.of("b")
    assert HOSTILE in outline.text("p")


def test_a_chart_is_shown_alone_and_a_name_that_is_none_is_an_error() -> None:
    report = compare_placements(SMALL)
    assert Outline(report.chart()._repr_html_()).of("svg")
    with pytest.raises(SamattnError) as error:
        report.chart("fornt")
    assert error.value.codes == ("unknown-chart",)
    assert "front" in str(error.value)


def test_every_kind_of_report_that_has_a_page_shows_itself() -> None:
    for kind, path in {**KINDS, TRACED: TRACED_REPORT}.items():
        module, _, name = path.rpartition(".")
        report = getattr(import_module(module, "samattn_cli.reports"), name)
        assert issubclass(report, Shown) == (kind in LAYOUTS), kind


@pytest.mark.skipif(find_spec("pandas") is not None, reason="pandas is installed")
def test_without_pandas_an_error_says_what_to_install() -> None:
    with pytest.raises(SamattnError, match="pip install pandas") as error:
        analyze(SMALL, verify=False).to_pandas()
    assert error.value.codes == ("not-installed",)


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_rows_become_a_frame_with_exact_integers() -> None:
    report = analyze(SMALL, verify=False)
    frame = report.to_pandas()
    assert int(frame["flops"].iloc[-1]) == report.totals.flops
    counts = sweep(["sam_vit_b"], Grid(batch_sizes=(1, 2)), ["flops"]).to_pandas()["flops"].tolist()
    assert counts == [972_077_334_528, 2 * 972_077_334_528]


def test_a_report_goes_to_json_and_back_as_before() -> None:
    report = compare_placements(SMALL)
    assert from_json(to_json(report)) == report


def test_a_chart_as_pdf_is_one_page_that_has_its_text(tmp_path) -> None:
    file = tmp_path / "layers.pdf"
    assert output_files([file], tuple(FORMATS)) == {file: "pdf"}
    page = render_file(analyze(SMALL, verify=False), "pdf", Options())
    assert page[:5] == b"%PDF-"
    assert page.count(b"/MediaBox") == 1
    assert b"/Font" in page


def test_a_chart_that_the_report_lacks_says_what_makes_it() -> None:
    config = load_config("vit_b", ["depth=2", "image_size=32"])
    with pytest.raises(OutputError, match=r"it needs analyze\(\.\.\., timeline=True\)") as error:
        analyze(config, verify=False).chart("memory")
    assert error.value.codes == ("nothing-to-draw",)
    assert analyze(config, verify=False, timeline=True).chart("memory").spec
