"""The chart of a fit: the live bytes of every size, the memory as a line, the edge marked on the lines."""

from typing import Any

import pytest

from samattn_cli import analyze, fit, load_config
from samattn_cli.errors import OutputError
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.render.pages.fit_chart import FAR, chart
from samattn_cli.studies.fit import BEYOND, Asked

MIB = 2**20
MEMORY = 100 * MIB


@pytest.fixture(scope="module")
def report() -> Any:
    config = load_config("sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]"])
    asked = Asked(vary=("batch_size", "global_layers"), kernels=("eager",), modes=("inference",), curves=True)
    return fit(config, MEMORY, asked)


def test_a_curve_has_the_peak_of_every_size_up_to_half_as_much_again_as_the_memory(report) -> None:
    batch, placed = report.answers
    sizes, peaks = zip(*batch.curve, strict=True)
    assert sizes == tuple(range(1, len(sizes) + 1))
    assert peaks[-1] <= BEYOND * MEMORY
    assert sizes[-1] > batch.next.batch_size
    assert dict(batch.curve)[batch.fits.batch_size] == batch.fits.peak_bytes
    assert [size for size, _ in placed.curve] == [0, 1, 2]
    third = load_config(
        "sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]", "run.batch_size=3"]
    )
    assert dict(batch.curve)[3] == analyze(third, verify=False).totals.peak_bytes


def test_panels_have_the_memory_as_a_line_and_the_edge_as_a_square(report) -> None:
    spec = chart(report)
    batch, placed = spec["concat"]
    assert [panel["encoding"]["x"]["title"] for panel in (batch, placed)] == [
        "images a pass",
        "global layers",
    ]
    lines, _, marks, rule, words = batch["layer"]
    assert [row["words"] for row in words["data"]["values"]] == ["100.0 MiB"]
    assert [row["y"] for row in rule["data"]["values"]] == [100]
    (mark,) = marks["data"]["values"]
    fits = report.answers[0].fits
    assert (mark["x"], mark["y"]) == (fits.batch_size, fits.peak_bytes / MIB)
    assert min(row["x"] for row in batch["data"]["values"]) == max(1, fits.batch_size // FAR)
    assert lines["mark"]["type"] == "line"


def test_without_a_picture_no_curve_is_worked_out() -> None:
    config = load_config("sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]"])
    asked = Asked(vary=("global_layers",), kernels=("eager",), modes=("inference",))
    assert [answer.curve for answer in fit(config, MEMORY, asked).answers] == [()]


def test_the_choice_of_blocks_to_checkpoint_is_not_drawn() -> None:
    config = load_config(
        "sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]", "run.mode=training"]
    )
    found = fit(
        config,
        MEMORY,
        Asked(vary=(), kernels=("eager",), modes=("training",), checkpointing=True, curves=True),
    )
    with pytest.raises(OutputError, match="nothing to draw"):
        render(found, "svg", Options())
    assert "<svg" not in render(found, "html", Options())
