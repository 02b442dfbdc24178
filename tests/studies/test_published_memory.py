"""Published figures of GPU memory, predicted: the bounds of judged groups, SAM's memory to the byte, and the command."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.published_memory import groups, whole_sam
from samattn_cli.reports.published_memory import PublishedMemory, PublishedRow
from samattn_cli.studies import published_memory as study
from tests.public.published_memory import HEADER, SUMMARY_HEADER, UNKNOWN, rows, summary, unknown
from tests.support.recorded import torch_of
from tests.support.running import ROOT, samattn
from tests.tape.dry.whole_sam import PATH as DRY

MIB = 1 << 20
BLOCK = 512
PROMPT_ENCODER = 17
"""Its weights and its buffer are the first of what is next to SAM's encoder."""


@pytest.fixture(scope="module")
def report() -> PublishedMemory:
    return study.published_memory()


@pytest.fixture
def command(report: PublishedMemory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, of a report that is worked out already."""

    def run(*arguments: str, of: PublishedMemory = report) -> Any:
        monkeypatch.setattr(study, "published_memory", lambda: of)
        return CliRunner().invoke(app, ["verify", *arguments])

    return run


def of_group(report: PublishedMemory, name: str) -> list[PublishedRow]:
    return [row for row in report.rows if row.group == name]


# -- the record ------------------------------------------------------------------------------------------------------


def test_the_record_has_120_figures_each_with_its_source(report: PublishedMemory) -> None:
    assert len(report.rows) == 120
    for row in report.rows:
        assert row.address.startswith(("https://github.com/", "https://arxiv.org/abs/"))
        assert any(part in row.address for part in ("/blob/", "/issues/", "/abs/")), row.address
        assert all((row.seen, row.torch, row.device, row.includes, row.figure, row.unit))
    assert len({(row.group, row.model, *row.keys) for row in report.rows}) == 120


def test_a_gigabyte_is_1000_mib_and_eager_sam_is_in_mib(report: PublishedMemory) -> None:
    by_group = {row.group: row for row in reversed(report.rows)}
    assert by_group["zoo_mask_coco"].published_bytes == 10_900 * MIB
    assert by_group["sam_eager"].published_bytes == 2_789 * MIB


# -- what is judged --------------------------------------------------------------------------------------------------


def test_eager_sam_is_within_half_a_percent_in_the_median_and_1_percent_at_worst(
    report: PublishedMemory,
) -> None:
    errors = [
        abs(row.predicted_bytes / row.published_bytes - 1)
        for row in of_group(report, "sam_eager")
        if row.predicted_bytes
    ]
    assert len(errors) == 8
    assert median(errors) <= 0.005
    assert max(errors) <= 0.01


@pytest.mark.parametrize("name", ["zoo_mask_coco", "zoo_cascade_coco", "zoo_swin_coco"])
def test_steps_of_the_zoo_are_within_the_printed_digit(name: str, report: PublishedMemory) -> None:
    """Each figure is rounded by half of 0.1 GB, so a step is exact to 0.1 GB."""
    fitted, *others = of_group(report, name)
    assert fitted.is_fitted
    assert fitted.error is None
    for before, row in zip([fitted, *others], others, strict=False):
        printed = round(float(row.figure) - float(before.figure), 1)
        assert abs((row.predicted_bytes - before.predicted_bytes) / MIB - 1000 * printed) <= 100
        assert row.beside_bytes == fitted.beside_bytes  # one constant for the head


def test_what_the_zoo_steps_are(report: PublishedMemory) -> None:
    steps = [row.step_bytes / MIB for row in of_group(report, "zoo_mask_coco")[1:]]
    assert [round(step) for step in steps] == [9_985, 10_503]


def test_the_encoder_of_sam_alone_is_what_was_measured(report: PublishedMemory) -> None:
    """Measured as 5,721 MiB in float32."""
    full, half = of_group(report, "sam_encoder")
    assert round(full.predicted_bytes / MIB) == int(full.figure) == 5_721
    assert abs(half.error) <= 0.005


def test_global_layers_cost_what_the_paper_of_vitdet_says(report: PublishedMemory) -> None:
    """1.39 and 3.34 times the 14.6 GB without global layers; the last was estimated by its authors."""
    none, four, all_ = of_group(report, "vitdet_paper")
    assert none.published_bytes == 14_600 * MIB
    assert round(four.predicted_bytes / none.published_bytes, 2) == 1.39
    assert round(all_.predicted_bytes / none.published_bytes, 2) == 3.36


def test_training_steps_of_swin_v2_on_an_h100(report: PublishedMemory) -> None:
    """Their bound was set before they were predicted: median 1 %, worst 2 %. Hopper's cuBLAS workspaces are 24 MiB larger."""
    rows = of_group(report, "swinv2_training")
    assert [round(100 * row.error, 2) for row in rows] == [-0.19, -0.03, 0.07, 0.09, 0.13]


def test_every_judged_group_is_within_its_bound(report: PublishedMemory) -> None:
    judged = [group for group in report.groups if group.is_judged]
    assert len(judged) == 8
    assert sum(group.compared for group in judged) == 25
    assert report.is_within


def test_a_group_that_is_not_reproduced_says_what_is_unknown(report: PublishedMemory) -> None:
    assert all(group.unknown for group in report.groups)
    assert [
        group.name for group in report.groups if group.worst and group.worst > 0.01 and group.is_judged
    ] == []


# -- SAM to the byte -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run", json.loads(DRY.read_text("utf-8")), ids="{model}-{dtype}-{batch_size}".format_map
)
def test_the_whole_of_sam_is_what_torch_allocates_dry_to_the_byte(
    run: dict[str, Any], report: PublishedMemory
) -> None:
    """The prediction has what the published script keeps; the dry run keeps the prompt encoder in float32."""
    assert torch_of(run) == study.TORCH
    item_bytes = {"float32": 4, "bfloat16": 2}[run["dtype"]]
    keys = (f"run.batch_size={run['batch_size']}", f"run.dtype={run['dtype']}")
    (row,) = (
        row
        for row in of_group(report, "sam_eager")
        if row.keys == keys and row.preset == f"sam_{run['model']}"
    )
    features = run["batch_size"] * 256 * 64 * 64 * item_bytes
    results = 4952 * BLOCK
    in_float32 = sum(
        blocks(number * 4) - blocks(number * item_bytes) for number in whole_sam().weights[:PROMPT_ENCODER]
    )
    assert row.predicted_bytes == run["allocated_bytes"] - in_float32 + features + results


def blocks(nbytes: int) -> int:
    return -(-nbytes // BLOCK) * BLOCK


def test_the_decoder_has_the_parameters_of_segment_anything() -> None:
    """SAM ViT-B has 93,735,472 parameters, its encoder 89,670,912; there are 3 + 3 + 256 numbers in buffers."""
    assert sum(whole_sam().weights) == 93_735_472 - 89_670_912 + 3 + 3 + 256


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_answer_is_first(command: Any) -> None:
    result = command("--published")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    answer = lines.index("Answer")
    assert lines[1].startswith("✓ within the bounds: all 8 judged groups")
    assert answer < 8
    assert "120 published figures in 28 groups" in lines[answer + 1]


@pytest.mark.exhaustive
def test_neither_torch_nor_numpy_is_needed() -> None:
    code = (
        "import sys; sys.argv = ['samattn', 'verify', '--published', '-f', 'csv']\n"
        "sys.modules |= dict.fromkeys(('torch', 'fvcore', 'numpy'))\n"
        "from samattn_cli.cli.app import app\napp()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 121


def test_csv_and_json_have_each_figure(command: Any, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(command("--published", "-f", "csv").stdout)))
    data = json.loads(command("--published", "--format", "json").stdout)
    assert len(lines) == len(data["rows"]) == 120
    assert data["kind"] == "published_memory"
    assert {line["predicted_bytes"] for line in lines if line["group"] == "sam_compiled"} == {""}
    assert command("--published", "-o", str(tmp_path / "all.md")).exit_code == 0
    assert "SAM ViT-B fp32, 1 image" in (tmp_path / "all.md").read_text("utf-8")


def test_a_group_outside_its_bound_exits_1_and_is_named(command: Any, report: PublishedMemory) -> None:
    eager, shown = groups()[0], report.groups[0]
    for bound in ({"median": 1e-6}, {"worst": 1e-6}):
        asked = replace(eager, bound=replace(eager.bound, **bound))
        outside = study._judged(asked, report.rows_of(shown))
        assert not outside.is_within
    less = replace(report, groups=(outside,), rows=report.rows_of(shown))
    result = command("--published", of=less)
    assert result.exit_code == 1
    words = " ".join(result.stdout.split())
    assert f"{eager.title}: 8 figures" in words
    assert "OUTSIDE its bound" in words
    assert f"✗ outside the bound: 1 of 1 judged group: {eager.title}" in words


def test_a_step_outside_its_bound_is_not_within(report: PublishedMemory) -> None:
    group = next(group for group in report.groups if group.name == "zoo_mask_coco")
    rows = report.rows_of(group)
    off = [*rows[:2], replace(rows[2], step_bytes=rows[2].step_bytes - 4 * MIB)]  # 10,499 MiB for 10.6 GB
    data = next(each for each in groups() if each.name == group.name)
    assert study._judged(data, rows).is_within
    assert not study._judged(data, off).is_within


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sam_vit_b"], "sam_vit_b"),
        (["--dtype", "bfloat16"], "--dtype bfloat16"),
        (["--dry", "h100"], "--dry"),
        (["--measured", "a.json"], "--measured"),
    ],
)
def test_published_takes_no_encoder(arguments: list[str], named: str, command: Any) -> None:
    result = command("--published", *arguments)
    assert result.exit_code == 2
    assert f"--published takes no {named}" in result.stderr
    assert "[conflicting-options]" in result.stderr


def test_a_misspelt_format_or_option_is_named(command: Any) -> None:
    result = command("sam_vit_b", "--measured", "none.json", "--format", "csv")
    assert result.exit_code == 2
    assert "[cannot-read]" in result.stderr  # of the file: judgements have the format
    typo = command("--published", "--format", "marckdown")
    assert typo.exit_code == 2
    assert "did you mean 'markdown'?" in typo.stderr
    assert "did you mean '--published'?" in samattn("verify", "--publishd").stderr


# -- pages -----------------------------------------------------------------------------------------------------------


def test_tables_of_the_pages_are_todays(report: PublishedMemory) -> None:
    """`python -m tests.refresh published` writes them."""
    evidence, readme = ((ROOT / name).read_text("utf-8") for name in ("tests/README.md", "README.md"))
    assert SUMMARY_HEADER + "\n".join(summary(report)) + "\n\n" in readme
    assert HEADER + "\n".join(rows(report)) + "\n\n" in evidence
    assert UNKNOWN + "\n".join(unknown(report)) + "\n\n" in evidence
