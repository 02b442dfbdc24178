import csv
import io
import itertools
import json
import math
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import analyze, from_json, load_config, load_device, to_json
from samattn_cli.cli.app import app
from samattn_cli.cli.ranges import numbers, sizes
from samattn_cli.errors import ConfigError, UsageError
from samattn_cli.figures import FIGURES, IN_MEMORY
from samattn_cli.figures import OF_ENCODER as METRICS
from samattn_cli.files.load import parse_override
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.render.pages.sweep import rows
from samattn_cli.render.pages.sweep_chart import _marks, chart
from samattn_cli.render.pages.sweep_words import set_alike, subtitle_of
from samattn_cli.reports.sweep import MemoryFitting
from samattn_cli.studies import points
from samattn_cli.studies.grid import MOST_POINTS, Grid, Variation
from samattn_cli.studies.left_out import _kept
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.points import at
from samattn_cli.studies.sweep import sweep
from tests.support.problems import problems_of
from tests.support.running import ROOT, UPDATE, samattn
from tests.support.sampling import examples

DEFAULT_METRICS = ("flops", "attention_bytes", "peak_bytes")

GOLDEN = Path(__file__).parent.parent / "golden"
SIX = ("sam_vit_b", "--resolutions", "512:1024:128,768x1152")
CASES = {
    "sweep-80.txt": (SIX, 80),
    "sweep-160.txt": ((*SIX, "--device", "t4", "--batch-sizes", "4"), 160),
    "sweep-matrix-80.txt": (
        (
            "sam_vit_b",
            "swin_t",
            "--resolutions",
            "448:1792:448",
            "--windows",
            "7,8",
            "--metrics",
            "flops,peak_bytes",
        ),
        80,
    ),
    "sweep-words-80.txt": (("sam_vit_b", "--dtypes", "float32,bfloat16", "--vary", "mlp_ratio=2,4"), 80),
    "sweep-long-80.txt": (("sam_vit_b", "--resolutions", "64:4096:16", "--metrics", "flops"), 80),
    "sweep.csv": ((*SIX, "--format", "csv"), 80),
    "sweep.md": ((*SIX, "--format", "markdown", "--device", "t4"), 80),
}


@pytest.mark.parametrize("name", CASES)
def test_output_is_as_it_was(name: str) -> None:
    arguments, columns = CASES[name]
    result = samattn("sweep", *arguments, columns=columns)
    assert (result.returncode, result.stderr) == (0, "")
    if UPDATE:
        (GOLDEN / name).write_text(result.stdout, "utf-8")
    assert result.stdout == (GOLDEN / name).read_text("utf-8")
    if name.endswith(".txt"):
        assert max(map(len, result.stdout.splitlines())) <= columns


# --- lists and ranges


@given(st.integers(1, 500), st.integers(0, 500), st.integers(1, 50))
def test_ranges_have_both_ends(start: int, more: int, step: int) -> None:
    found = numbers("--windows", f"{start}:{start + more}:{step}", "windows")
    assert found == tuple(
        side for side in range(1, 1100) if start <= side <= start + more and not (side - start) % step
    )
    assert found[0] == start
    assert (found[-1] == start + more) == (more % step == 0)


@given(st.sets(st.integers(1, 1 << 20), min_size=1, max_size=20))
def test_lists_come_in_ascending_order(values: set[int]) -> None:
    assert numbers("--batch-sizes", ",".join(map(str, values)), "batches") == tuple(sorted(values))


@given(st.sets(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), min_size=1, max_size=10))
def test_sizes_come_with_the_fewest_pixels_first(values: set[tuple[int, int]]) -> None:
    found = sizes("--resolutions", ",".join(f"{height}x{width}" for height, width in values))
    assert set(found) == values
    assert [height * width for height, width in found] == sorted(height * width for height, width in values)


@given(st.text(alphabet="0123456789:,x- a.", max_size=12))
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    try:
        found = sizes("--resolutions", text)
    except UsageError:
        found = ()
    else:
        assert found
    assert all(1 <= side <= 1 << 20 for size in found for side in size)


def test_a_range_by_one_and_mixtures() -> None:
    assert numbers("--windows", "1:4", "windows") == (1, 2, 3, 4)
    assert sizes("--resolutions", "64:128:32, 48x64") == ((48, 64), (64, 64), (96, 96), (128, 128))


# --- worked out by hand: SAM ViT-B, 12 blocks of 768 with 4 of them global, 12 heads of 64, windows of 14


def block_flops(grid: int, window: int) -> int:
    """One block on grid x grid tokens; window 0: global."""
    side = window or grid
    padded = (-(-grid // side) * side) ** 2
    attention = 2 * padded * 768 * (3 * 768 + 768)  # qkv and proj
    attention += 2 * 2 * padded * side**2 * 768  # scores and values
    attention += 2 * 2 * padded * side * 768  # relative positions, down and across
    return attention + 2 * 2 * grid**2 * 768 * 3072  # MLP


def encoder_flops(side: int, window: int = 14, global_blocks: int = 4) -> int:
    grid = side // 16
    around = 2 * grid**2 * (16 * 16 * 3 * 768 + 768 * 256 + 9 * 256 * 256)  # patches and neck
    return around + global_blocks * block_flops(grid, 0) + (12 - global_blocks) * block_flops(grid, window)


SIDES = tuple(range(256, 2049, 64))


@pytest.fixture(scope="module")
def by_side():
    return sweep(["sam_vit_b"], Grid(resolutions=tuple((side, side) for side in SIDES)), ["flops"])


def test_flops_are_those_worked_out_by_hand(by_side) -> None:
    assert by_side.columns["flops"].tolist() == [encoder_flops(side) for side in SIDES]
    assert by_side.columns["flops_all_global"].tolist() == [encoder_flops(side, 14, 12) for side in SIDES]
    assert by_side.columns["flops_all_windowed"].tolist() == [encoder_flops(side, 14, 0) for side in SIDES]
    assert encoder_flops(1024) == 972_077_334_528


def test_windows_pay_from_the_resolution_worked_out_by_hand(by_side) -> None:
    pays = [block_flops(side // 16, 14) < block_flops(side // 16, 0) for side in SIDES]
    first = next(at for at in range(len(SIDES)) if all(pays[at:]))
    assert 0 < first < len(SIDES) - 1
    assert any(pays[:first]), "padding makes it cheaper, then dearer again: from N on is the last change"
    assert by_side.lines[0].pays_from == {"flops": str(SIDES[first])}


def test_growth_is_the_exponent_in_pixels(by_side) -> None:
    growth = by_side.columns["flops_growth"]
    assert math.isnan(growth[0])
    wanted = math.log(encoder_flops(1024) / encoder_flops(960)) / math.log(1024**2 / 960**2)
    assert growth[SIDES.index(1024)] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("batch_sizes", [(1, 16), (16, 1)])
def test_nothing_has_no_exponent(batch_sizes) -> None:
    """A first step of one image peaks where SGD has made its state, and one of 16 images before it has."""
    sets = ["run.mode=training", "run.step=first", "run.optimizer=sgd_momentum", "run.accumulate=2"]
    grid = Grid(batch_sizes=batch_sizes)
    report = sweep(["vit_b"], grid, ["peak_optimizer_bytes"], laid_over=sets, device=load_device("a100_40"))
    assert sorted(value > 0 for value in report.columns["peak_optimizer_bytes"]) == [False, True]
    assert json.loads(to_json(report))["columns"]["peak_optimizer_bytes_growth"] == [None, None]
    assert "inf" not in render(report, "terminal", Options(width=80))


def test_padding_is_marked_where_the_padded_grid_jumps(by_side) -> None:
    grids = [side // 16 for side in SIDES]
    padded = [-(-grid // 14) * 14 for grid in grids]
    jumps = [
        at
        for at, (grid, whole) in enumerate(zip(grids, padded, strict=True))
        if whole > grid and (at == 0 or whole > padded[at - 1])
    ]
    assert [cliff.point for cliff in by_side.cliffs] == jumps
    shares = [whole**2 / grid**2 - 1 for grid, whole in zip(grids, padded, strict=True)]
    assert by_side.columns["padding"] == pytest.approx(shares, abs=1e-12)


def test_every_jump_is_marked_however_many_there_are() -> None:
    sides = tuple((side, side) for side in range(512, 4097, 64))
    report = sweep(["sam_vit_b", "sam_vit_l"], Grid(resolutions=sides), ["flops"])
    padded = [-(-side // 16 // 14) * 14 for side, _ in sides]
    jumps = tuple(at for at, whole in enumerate(padded) if at == 0 or whole > padded[at - 1])
    jumps = tuple(at for at in jumps if padded[at] * 16 > sides[at][0])
    assert [line.jumps for line in report.lines] == [jumps, jumps]
    assert len(report.cliffs) < len(jumps)
    marks = [(mark.config, mark.x) for mark in _marks(report) if mark.kind == "cliff"]
    assert marks == [(name, sides[at][0]) for name in ("sam_vit_b", "sam_vit_l") for at in jumps]


def test_a_resolution_is_starred_where_it_has_more_padding_than_the_one_before() -> None:
    """Grids of 32, 40, 44, 64 tokens a side are padded to 42, 42, 56, 70: by 72, 10, 62 and 20 % of their tokens."""
    sides = tuple((side, side) for side in (512, 640, 704, 1024))
    shown = render(sweep(["sam_vit_b"], Grid(resolutions=sides), ["flops"]), "terminal", Options())
    assert [line.split()[0] for line in shown.splitlines() if line.split()[1:2] == ["*"]] == ["704"]
    assert "*: more padding than at the previous resolution." in " ".join(shown.split())
    falling = render(sweep(["sam_vit_b"], Grid(resolutions=sides[::3]), ["flops"]), "terminal", Options())
    assert "+72.27 %" in falling
    assert "+19.63 %" in falling
    assert "*" not in falling


def test_every_rise_is_starred_however_many_there_are() -> None:
    sides = tuple((side, side) for side in range(512, 4097, 128))
    report = sweep(["sam_vit_b"], Grid(resolutions=sides), ["flops"])
    shares = [(-(-side // 16 // 14) * 14 * 16 / side) ** 2 for side, _ in sides]
    rises = [str(sides[at][0]) for at in range(1, len(sides)) if shares[at] > shares[at - 1]]
    shown = render(report, "terminal", Options())
    assert [line.split()[0] for line in shown.splitlines() if line.split()[1:2] == ["*"]] == rises
    assert len(rises) > 5


SET_ALIKE = "sam2_hiera_t has windows of 8, 4, 14, 7: a window size of the sweep replaces each of them"


def test_windows_that_are_set_to_one_are_reported(tmp_path, capsys) -> None:
    grid = Grid(windows=(8, 16))
    report = sweep(["sam2_hiera_t", "swin_t"], grid, ["flops"])
    assert set_alike(report) == (SET_ALIKE,)
    assert {layer.window_size for layer in at(report.configs[0], {"window": 16}).layers} == {(16, 16), (0, 0)}
    shown = " ".join(render(report, "terminal", Options()).split())
    assert f"Windows - {SET_ALIKE} FLOPs" in shown
    assert not set_alike(sweep(["sam2_hiera_t"], Grid(resolutions=((512, 512),)), ["flops"]))
    with pytest.raises(SystemExit):
        app(
            ["sweep", "sam2_hiera_t", "--windows", "8,16", "-o", str(tmp_path / "a.csv")], prog_name="samattn"
        )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"samattn: {SET_ALIKE}\n")


def test_windows_of_overrides_are_among_those_that_are_set_to_one(tmp_path) -> None:
    text = "extends: sam_vit_b\noverrides:\n  - {blocks: [0, 1], window_size: 8}\n"
    (tmp_path / "own.yaml").write_text(text, "utf-8")
    report = sweep([str(tmp_path / "own.yaml")], Grid(windows=(7,)), ["flops"])
    assert [said.partition(" has ")[2].partition(":")[0] for said in set_alike(report)] == [
        "windows of 14, 8"
    ]


def test_cells_of_several_lines_are_figures_alone() -> None:
    """A peak of 5.5 GiB at 1024 does not fit in 4 GB: what fits is said once, below."""
    grid = Grid(resolutions=((512, 512), (1024, 1024)), windows=(8, 14))
    device = replace(load_device("rtx_4090"), memory_bytes=4 * 10**9)
    shown = render(sweep(["sam_vit_h"], grid, ["flops", "peak_bytes"], device=device), "terminal", Options())
    rows = [line for line in shown.splitlines() if re.match(r"(512|1024) .*x$", line)]
    assert len(rows) == 4
    for row in rows:
        assert re.fullmatch(r"\d+( +[\d.]+ (G|T|MiB|GiB) [\d.]+x){2}", row)
    assert "1024 is the first that does not" in shown


def test_a_picture_says_which_cliffs_it_does_not_mark() -> None:
    sides = tuple((side, side) for side in range(16, 2049, 16))
    report = sweep(["sam_vit_b"], Grid(resolutions=sides, windows=(2,)), ["flops"])
    assert len(report.lines[0].jumps) == 64
    assert not [mark for mark in _marks(report) if mark.kind == "cliff"]
    subtitle = " ".join(chart(report)["title"]["subtitle"])
    assert "Padding cliffs are not marked on lines with more than 40; one line has 64." in subtitle


def test_what_padding_costs_is_worked_out_by_hand() -> None:
    (at_1024,) = sweep(["sam_vit_b"], Grid(resolutions=((1024, 1024),)), ["flops"]).cliffs
    assert (at_1024.grid, at_1024.padded_grid) == ((64, 64), (70, 70))
    assert (at_1024.below, at_1024.above) == ((896, 896), (1120, 1120))
    in_windows = 8 * (block_flops(64, 14) - 2 * 2 * 64**2 * 768 * 3072)
    assert at_1024.flops_share == pytest.approx(
        in_windows * (1 - 64**2 / 70**2) / encoder_flops(1024), rel=1e-12
    )


def test_sides_that_differ_have_neighbours_that_differ() -> None:
    report = sweep(["sam_vit_b"], Grid(resolutions=((512, 1000),)), ["flops"])
    (cliff,) = report.cliffs
    assert (cliff.grid, cliff.padded_grid) == ((32, 62), (42, 70))
    assert (cliff.below, cliff.above) == ((448, 896), (672, 1120))


def tables(*arguments: str) -> dict[str, list[str]]:
    """The tables of a sweep as CSV-like rows, by their titles: headers first."""
    blocks = samattn("sweep", *arguments, columns=100).stdout.split("\n\n")
    return {title: lines for title, *lines in (block.strip("\n").splitlines() for block in blocks)}


def test_the_peak_of_a_training_step_is_shown_and_judged_where_modes_are_training() -> None:
    """ViT-H's step takes 26.72 GiB at 1024, beyond a GPU of 24 GB that a forward of 5.52 GiB fits."""
    shown = tables("sam_vit_h", "--resolutions", "512,1024", "--modes", "training", "--device", "rtx_4090")
    assert "Inference peak" not in shown
    headers, _, small, large = (line.split() for line in shown["Training peak"])
    assert headers == [
        "resolution",
        "padding",
        "training",
        "peak",
        "fits",
        "growth",
        "all",
        "global",
        "windowed",
    ]
    assert (small[:5], large[:5]) == (
        ["512", "+72.27", "%", "11.80", "GiB"],
        ["1024", "+19.63", "%", "26.72", "GiB"],
    )
    assert (small[5], large[5]) == ("yes", "no")
    others = [
        lines[0]
        for title, lines in shown.items()
        if title in {"FLOPs", "Score matrices", "Time of a whole step"}
    ]
    assert len(others) == 3
    assert not any("fits" in header for header in others)


def test_what_does_not_depend_on_the_mode_has_one_column_of_two_modes() -> None:
    shown = tables(
        "sam_vit_b",
        "sam_vit_l",
        "--resolutions",
        "512,1024",
        "--modes",
        "inference,training",
        "--device",
        "rtx_4090",
    )
    assert {
        title: lines[0].split()
        for title, lines in shown.items()
        if title.startswith(("F", "Sc", "In", "Tr", "Ti"))
    } == {
        title: ["resolution", "sam_vit_b", "sam_vit_l"]
        for title in ("FLOPs", "Score matrices", "Inference peak", "Training peak")
    } | {
        "Time of a pass or a whole step": ["resolution"]
        + [word for name in ("sam_vit_b,", "sam_vit_l,") for word in (name, "inference", name, "training")]
    }


def test_of_two_modes_each_peak_is_judged_by_its_own() -> None:
    shown = tables(
        "sam_vit_h", "--resolutions", "512,1024", "--modes", "inference,training", "--device", "rtx_4090"
    )
    fits = {
        title: [line.split()[5] for line in shown[title][2:4]]
        for title in ("Inference peak", "Training peak")
    }
    assert fits == {"Inference peak": ["yes", "yes"], "Training peak": ["yes", "no"]}


def test_along_modes_a_peak_stands_in_the_row_of_its_mode() -> None:
    """The sibling: lines that go along the modes, of which `run.mode` is another name."""
    for axis in (("--modes", "inference,training"), ("--vary", "run.mode=inference,training")):
        shown = tables("sam_vit_b", *axis, "--device", "rtx_4090")
        inference, training = (line.split() for line in shown["Training peak"][2:4])
        assert (inference, training[:5]) == (
            ["inference", "+19.63", "%"],
            ["training", "+19.63", "%", "8.50", "GiB"],
        )


@pytest.mark.parametrize(
    ("changes", "peaks"),
    [
        ((), ["peak_bytes"]),
        (("run.mode=training",), ["training_bytes"]),
    ],
)
def test_the_peak_shown_by_default_follows_the_mode(changes: tuple[str, ...], peaks: list[str]) -> None:
    laid_over = [parse_override(change) for change in changes]
    report = sweep(["sam_vit_b"], Grid(resolutions=((512, 512), (1024, 1024))), laid_over=laid_over)
    assert list(report.metrics) == ["flops", "attention_bytes", *peaks]


def test_what_does_not_fit_is_judged_by_the_peak() -> None:
    device, sides = load_device("t4"), (512, 1024, 1536, 2048)
    grid = Grid(resolutions=tuple((side, side) for side in sides))
    report = sweep(["sam_vit_b"], grid, ["flops"], device=device)
    peaks = [Passes(load_config("sam_vit_b", [f"image_size={side}"])).peak_bytes for side in sides]
    fits = [peak <= device.usable_bytes for peak in peaks]
    assert report.columns["fits"].tolist() == fits == [True, True, True, False]
    assert (report.lines[0].fits_until, report.lines[0].too_large_from) == ("1536", "2048")


# --- against analyze, point by point

OF_PASSES = tuple(
    name for name in METRICS if name not in IN_MEMORY
)  # of replays: tests/studies/test_on_device.py

GRIDS = {
    "sam_vit_b": (st.integers(16, 1400), st.integers(2, 40)),
    "swin_t": (st.integers(32, 900), st.integers(2, 20)),
    "sam2_hiera_t": (st.integers(1, 8).map(lambda n: 128 * n), st.sampled_from([8, 16, 4])),
    "qwen2_5_vl_vision": (st.integers(1, 6).map(lambda n: 28 * n), st.integers(1, 8).map(lambda n: 2 * n)),
    "vitdet_b_fpn": (st.integers(2, 20).map(lambda n: 32 * n), st.integers(2, 30)),
}


@st.composite
def grids(draw):
    name = draw(st.sampled_from(sorted(GRIDS)))
    sides, windows = GRIDS[name]
    pairs = draw(st.sets(st.tuples(sides, sides), min_size=1, max_size=2))
    batches = draw(st.sets(st.integers(1, 9), max_size=2))
    ordered = tuple(sorted(pairs, key=lambda size: (size[0] * size[1], size)))
    chosen = tuple(sorted(draw(st.sets(windows, max_size=2))))
    mode = draw(st.sampled_from(["inference", "training"]))
    return name, mode, Grid(resolutions=ordered, windows=chosen, batch_sizes=tuple(sorted(batches)))


@settings(max_examples=examples(6), deadline=None, derandomize=True)
@given(grids())
def test_each_point_is_what_analyze_says(drawn) -> None:
    name, mode, grid = drawn
    device = load_device("h100")
    laid_over = [parse_override(f"run.mode={mode}"), parse_override("run.attention=eager")]
    try:
        report = sweep([name], grid, OF_PASSES, laid_over=laid_over, device=device)
    except (UsageError, ConfigError):
        return
    for row in rows(report):
        config = points.at(report.configs[0], {key: row[key] for key in points.AXES if key in row})
        twins = {"": config, "_all_global": config.all_global(), "_all_windowed": config.all_windowed()}
        for suffix, twin in twins.items():
            figures = Passes(twin, device).figures
            for metric in OF_PASSES:
                same = pytest.approx if metric == "latency_ms" else int
                assert row[f"{metric}{suffix}"] == same(getattr(figures, metric)), (metric, suffix)


def test_totals_and_comparisons_are_those_of_analyze() -> None:
    without_device = [metric for metric in METRICS if not FIGURES[metric].needs]
    report = sweep(["swin_t"], Grid(resolutions=((300, 500),), windows=(5,)), without_device)
    (row,) = rows(report)
    analysis = analyze(points.at(report.configs[0], {"height": 300, "width": 500, "window": 5}), verify=False)
    for metric in without_device:
        assert row[metric] == getattr(analysis.totals, metric)
        assert row[f"{metric}_all_global"] == getattr(analysis.comparison.vs_all_global, metric)
        assert row[f"{metric}_all_windowed"] == getattr(analysis.comparison.vs_all_window, metric)
    assert row["flops_vs_all_global"] == analysis.comparison.vs_all_global.flops_ratio


def test_axes_are_combined_in_their_order() -> None:
    variations = (
        Variation("mlp_ratio", tuple(parse_override(f"mlp_ratio={ratio}") for ratio in (2.0, 4.0))),
        Variation("dtype", tuple(parse_override(f"run.dtype={dtype}") for dtype in ("float32", "float16"))),
    )
    grid = Grid(
        variations=variations, batch_sizes=(1, 2), windows=(7, 14), resolutions=((112, 112), (224, 224))
    )
    report = sweep(["sam_vit_b", "vitdet_b"], grid, ["flops", "weights_bytes"])
    told = ("config", "mlp_ratio", "dtype", "batch_size", "window", "height")
    wanted = itertools.product(
        ("sam_vit_b", "vitdet_b"), (2.0, 4.0), ("float32", "float16"), (1, 2), (7, 14), (112, 224)
    )
    found = list(rows(report))
    assert [tuple(row[name] for name in told) for row in found] == list(wanted)
    for row in found[::9]:
        settings_ = [
            f"mlp_ratio={row['mlp_ratio']}",
            f"run.dtype={row['dtype']}",
            f"run.batch_size={row['batch_size']}",
        ]
        settings_ += [f"window_size={row['window']}", f"image_size={row['height']}"]
        totals = Passes(load_config(row["config"], settings_)).figures
        assert (row["flops"], row["weights_bytes"]) == (totals.flops, totals.weights_bytes)
    assert report.line_count == 32
    assert [line.first for line in report.lines] == [*range(0, 22, 2), 62]


def test_integers_beyond_64_bits_stay_exact() -> None:
    side = 1 << 20
    report = sweep(["vit_h"], Grid(resolutions=((512, 512), (side, side)), batch_sizes=(1, 4096)), ["flops"])
    config = load_config("vit_h", [f"image_size={side}", "run.batch_size=4096"])
    wanted = analyze(config, verify=False).totals.flops
    assert wanted > 2**63
    assert list(rows(report))[-1]["flops"] == wanted
    assert json.loads(to_json(report))["columns"]["flops"][-1] == wanted


def test_json_comes_back() -> None:
    report = sweep(["sam_vit_b", "vit_b"], Grid(resolutions=((256, 256), (512, 512))), DEFAULT_METRICS)
    text = to_json(report)
    again = from_json(text)
    assert to_json(replace(again, columns={k: np.array(v, object) for k, v in again.columns.items()})) == text
    columns = json.loads(text)["columns"]
    assert columns["config"] == ["sam_vit_b", "sam_vit_b", "vit_b", "vit_b"]
    assert columns["flops_growth"][0] is None
    assert columns["flops_all_windowed"][2:] == [None, None]


def test_csv_has_every_row() -> None:
    report = sweep(
        ["sam_vit_b"], Grid(resolutions=tuple((side, side) for side in range(64, 2049, 16))), ["flops"]
    )
    found = list(csv.DictReader(io.StringIO(render(report, "csv", Options()))))
    assert [int(row["flops"]) for row in found] == report.columns["flops"].tolist()
    assert len(found) == report.points == 125


def test_the_example_finds_windows_that_need_little_padding(monkeypatch, capsys) -> None:
    script = str(ROOT / "examples" / "largest_window.py")
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(script, run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[2].startswith(" 1024: window 16,")
    assert [line[-13:] for line in lines] == [" 0.0% padding"] * 4 + [" 3.1% padding"]


# --- bad input

BAD = {
    ("sam_vit_b", "--dtypes", "float32,bfloat16", "--device", "t4"): "sam_vit_b: t4 has no bfloat16 units",
    ("sam_vit_b",): "[nothing-varies]",
    ("sam_vit_b", "--resolutions", "2048:512:64"): "use 512:2048:64 [reversed-range]",
    ("sam_vit_b", "--resolutions", "512:1024:0"): "must be at least 1, not 0 [out-of-range]",
    ("sam_vit_b", "--resolutions", "512:1024:-64"): "must be at least 1, not -64 [out-of-range]",
    ("sam_vit_b", "--resolutions", "512::64"): "[not-a-size]",
    ("sam_vit_b", "--batch-sizes", "1,x"): "[not-a-number]",
    ("sam_vit_b", "--resolutions", ""): "[empty-value]",
    ("sam_vit_b", "--resolutions", "512,,1024"): "[empty-item]",
    ("sam_vit_b", "--resolutions", "512,big"): "--resolutions big: ",
    ("sam_vit_b", "--resolutions", "8"): "--resolutions 8: image_size 8 is smaller than",
    ("sam_vit_b", "--resolutions", "8,8x400"): "[image-smaller-than-patch]",
    ("sam_vit_b", "--resolutions", "512,512"): "512x512 is given twice [given-twice]",
    ("sam_vit_b", "--resolutions", "512,256:768:256"): "512x512 is given twice [given-twice]",
    ("sam_vit_b", "--windows", "0,7"): "--windows 0: must be at least 1, not 0 [out-of-range]",
    ("vit_b", "--windows", "7"): "[no-windows]",
    (
        "sam2_hiera_t",
        "--resolutions",
        "500,600",
    ): "none of the 2 points is valid: sam2_hiera_t: at image_size 500x500: ",
    (
        "rf_detr_nano",
        "--resolutions",
        "384,400",
        "--strict",
    ): "--strict: resolution 400, which rf_detr_nano does not",
    (
        "swin_t",
        "--set",
        "stages.0.shift_size=5",
        "--windows",
        "4",
    ): "shift_size 5x5 must be smaller than the window",
    (
        "sam_vit_b",
        "--resolutions",
        "16:100000",
        "--batch-sizes",
        "1:10000",
    ): "the grid has 999,850,000 points (10,000 x 99,985)",
    ("sam_vit_b", "--resolutions", "1:9999999999"): "must be at most 1,048,576, not 9,999,999,999",
    ("sam_vit_b", "--vary", "depth=1:2000"): "[too-many-values]",
    ("sam_vit_b", "--vary", "depth=1:100", "--vary", "num_heads=1:100"): "[too-many-encoders]",
    (
        "sam_vit_b",
        "--vary",
        "embed_dim=770,780",
    ): "--vary embed_dim=770: num_heads 12",
    ("sam_vit_x", "--resolutions", "512"): "[file-not-found]",
    ("sam_vit_b", "--vary", "depth"): "[not-a-setting]",
    ("sam_vit_b", "--vary", "depht=2,3"): "[unknown-key]",
    ("sam_vit_b", "--vary", "depth=12,12"): "depth: 12 is given twice [given-twice]",
    ("sam_vit_b", "--vary", "depth=8", "--vary", "depth=9"): "[given-twice]",
    ("sam_vit_b", "--vary", "image_size=512", "--resolutions", "512"): "[given-twice]",
    ("sam_vit_b", "--dtypes", "float32,flat16"): "run.dtype must be",
    ("sam_vit_b", "--resolutions", "512", "--metrics", "latency_ms"): "[needs-device]",
    ("sam_vit_b", "--resolutions", "512", "--metrics", "flop"): "did you mean 'flops'?",
    ("sam_vit_b", "--resolutions", "512", "--metrics", "flops,flops"): "flops is given twice [given-twice]",
    (
        "sam_vit_b",
        "sam_vit_b",
    ): "sam_vit_b: the config is given twice, or two configs have this name [given-twice]",
    ("sam_vit_b", "--resolutions", "512", "-o", "sweep.foo"): "[unknown-extension]",
    ("sam_vit_b", "--resolutions", "512", "-o", "nowhere/sweep.csv"): "nowhere [no-such-directory]",
    ("sam_vit_b", "--resolutions", "512", "--measure", "tpu"): "[unknown-device]",
    (
        "sam_vit_b",
        "--resolutions",
        "16:2048:16",
        "--measure",
        "cpu",
    ): "or --max-cases 128 [too-many-cases]",
    ("sam_vit_b", "--resolutions", "512", "--device", "h1000"): "did you mean 'h100'?",
    ("sam_vit_b", "--resolutions", "512", "--repeats", "3"): "[missing-option]",
    ("sam_vit_b", "--resolutions", "512", "--max-cases", "3"): "[missing-option]",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_reported_and_exits_2(arguments: tuple[str, ...], capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        app(["sweep", *arguments], prog_name="samattn")
    printed = capsys.readouterr()
    assert left.value.code == 2
    assert printed.out == ""
    assert BAD[arguments] in printed.err
    assert "Traceback" not in printed.err


LEFT_OUT = {
    ("rf_detr_nano", "--resolutions", "384,400,432,448"): (["384", "448"], ["400", "432"], "not-divisible"),
    ("rf_detr_nano", "sam_vit_b", "--resolutions", "400,416"): (["416"] * 2, ["400"], "not-divisible"),
    ("sam2_hiera_t", "--resolutions", "500,512,600"): (["512"], ["500", "600"], "not-divisible"),
    ("sam_vit_b", "--resolutions", "8,20,8x400"): (["20"], ["8", "8x400"], "image-smaller-than-patch"),
    ("swin_t", "--set", "stages.0.shift_size=5", "--windows", "4,7"): (["224"], ["4"], "shift-too-large"),
}


@pytest.mark.parametrize("arguments", LEFT_OUT, ids=" ".join)
def test_a_size_that_does_not_fit_is_left_out_and_said(arguments: tuple[str, ...], capsys) -> None:
    kept, gone, code = LEFT_OUT[arguments]
    with pytest.raises(SystemExit) as left:
        app(["sweep", *arguments, "--metrics", "flops", "-f", "json"], prog_name="samattn")
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert left.value.code == 0
    assert [str(height) for height in report["columns"]["height"]] == kept
    assert [str(config["image_size"][0]) for config in report["configs"]] == [kept[0]] * len(
        report["configs"]
    )
    assert [each for entry in report["left_out"] for each in entry["values"]] == gone
    assert f" {', '.join(gone)}, which {arguments[0]} does not take: at " in printed.err
    assert f"[{code}]" in printed.err


def test_figures_next_to_a_size_that_is_left_out_are_those_of_a_sweep_without_it() -> None:
    swept = sweep(
        ["rf_detr_nano"], Grid(resolutions=((384, 384), (400, 400), (448, 448)), batch_sizes=(1, 3))
    )
    alone = sweep(["rf_detr_nano"], Grid(resolutions=((384, 384), (448, 448)), batch_sizes=(1, 3)))
    assert replace(swept, left_out=()) == replace(alone, columns=swept.columns)
    assert list(rows(swept)) == list(rows(alone))
    text = render(swept, "terminal", Options(width=300))
    assert "! left out: 1 resolution that the encoder does not take (see Notes)" in text
    said = "left out: resolution 400, which rf_detr_nano does not take: at image_size 400x400, batch_size 1: num_"
    assert said in " ".join(text.split())
    assert "Left out: 1 value that" in json.dumps(chart(swept))


@pytest.mark.parametrize(
    ("invalid", "kept"),
    [
        ([[0, 0, 0], [1, 1, 1]], ([1, 0], [1, 1, 1])),  # the second window fits no size
        ([[0, 1, 0], [0, 0, 0]], ([1, 1], [1, 0, 1])),  # one size does not fit the first window
        ([[0, 1, 1], [1, 0, 0]], ([1, 0], [1, 0, 0])),  # no size fits both windows: the first that fits
        ([[0, 1, 1], [0, 0, 0]], ([1, 1], [1, 0, 0])),
        ([[1, 1, 1], [1, 1, 1]], ([0, 0], [0, 0, 0])),
    ],
)
def test_windows_and_sizes_that_are_kept_all_go_together(
    invalid: list[list[int]], kept: tuple[list[int], ...]
) -> None:
    batches, windows, sizes = _kept(np.array([invalid], bool))
    assert (windows.tolist(), sizes.tolist()) == kept
    assert batches.any() == any(kept[0])


def test_what_is_wrong_with_a_config_at_any_point_is_reported_without_one(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("extends: sam_vit_b\nembed_dmi: 3\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        sweep([str(tmp_path / "h.yaml")], Grid(resolutions=((512, 512),)), ["flops"])
    assert problems_of(caught) == [f"{tmp_path / 'h.yaml'}:2:1: [unknown-key] 'embed_dmi' 'embed_dim'"]


def test_pixels_that_fill_no_patch_are_reported_as_dropped() -> None:
    sizes = tuple((side, side) for side in (496, 498, 500, 512, 513))
    text = render(sweep(["sam_vit_b"], Grid(resolutions=sizes), ["flops"]), "terminal", Options())
    assert "498, 500, 513 are not multiples of the patch size, 16: pixels beyond" in text  # 31 * 16 = 496
    assert "Notes" not in render(
        sweep(["sam_vit_b"], Grid(windows=(7, 14)), ["flops"]), "terminal", Options()
    )


def test_the_largest_grid_is_taken_and_one_more_is_not() -> None:
    side = math.isqrt(MOST_POINTS)
    squares = tuple((n, n) for n in range(16, 16 + MOST_POINTS // side))
    Grid(resolutions=squares, batch_sizes=tuple(range(1, side + 1))).check_size(1)
    with pytest.raises(UsageError, match=r"\[too-many-points\]"):
        Grid(resolutions=squares, batch_sizes=tuple(range(1, side + 5))).check_size(1)


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    for name in ("a[/b]c", "[red]d[/]"):
        report = sweep(["sam_vit_b"], Grid(resolutions=((512, 512), (1024, 1024))), ["flops"])
        lines = tuple(replace(line, config=name) for line in report.lines)
        assert f"\n{name}  from 1024 on" in render(replace(report, lines=lines), "terminal", Options())


# --- as a user runs it


def test_files_of_every_format_are_written(tmp_path: Path) -> None:
    names = [f"sweep{extension}" for extension in (".csv", ".json", ".md", ".txt", ".svg", ".parquet")]
    outputs = [part for name in names for part in ("-o", name)]
    result = samattn("sweep", "sam_vit_b", "--resolutions", "256:1024:256", *outputs, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [f"wrote {name}" for name in names]
    assert all((tmp_path / name).stat().st_size > 300 for name in names)
    assert "all windowed" in (tmp_path / "sweep.svg").read_text("utf-8")


def test_a_config_from_standard_input_is_read_once() -> None:
    text = "extends: sam_vit_b\ndepth: 2\nglobal_attn_indexes: [1]\n"
    arguments = ("--vary", "mlp_ratio=2,4", "--metrics", "params", "-f", "csv")
    result = samattn("sweep", "-", *arguments, stdin=text)
    assert result.returncode == 0, result.stderr
    assert [row["mlp_ratio"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["2", "4"]


def test_measured_stands_next_to_predicted(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "image_size: 32\npatch_size: 16\nembed_dim: 16\ndepth: 1\nnum_heads: 1\nwindow_size: 2\n", "utf-8"
    )
    arguments = (
        "--resolutions",
        "32",
        "--measure",
        "cpu",
        "--repeats",
        "1",
        "--device",
        "cpu",
        "-f",
        "json",
    )
    result = samattn("sweep", "tiny.yaml", *arguments, "-o", "sweep.svg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 case on " in result.stderr
    measured = json.loads(result.stdout)["measured"]
    assert [point["status"] for point in measured["points"]] == ["measured"]
    for point in measured["points"]:
        assert point["peak_ratio"] == point["peak_bytes"] / point["predicted_bytes"]
        assert point["latency_ratio"] == point["latency_ms"] / point["predicted_ms"]
    assert "measured over predicted, peak" in (tmp_path / "sweep.svg").read_text("utf-8")


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_points_fit_an_amount_of_memory_as_analyze_says(kernel: str) -> None:
    laid_over = [parse_override("depth=2"), parse_override(f"run.attention={kernel}")]
    sides = (64, 512, 1024)
    alone = [
        load_config("vit_b", [f"image_size={side}", "depth=2", f"run.attention={kernel}"]) for side in sides
    ]
    room = analyze(alone[1], verify=False).totals.peak_bytes
    swept = sweep(
        ["vit_b"], Grid(resolutions=tuple((side, side) for side in sides)), laid_over=laid_over, memory=room
    )
    found = [analyze(config, memory=room, verify=False).memory for config in alone]
    assert swept.columns["fits"].tolist() == [each.fits for each in found if each] == [True, True, False]
    assert swept.memory == MemoryFitting(room, 2)
    assert "2 of 3 points fit" in render(swept, "terminal", Options(width=100))


@pytest.mark.parametrize(
    ("key", "values", "says"),
    [
        ("run.gpus", ("2", "8"), "training with adamw, FSDP2"),
        ("run.param_dtype", ("none", "bfloat16"), "training with adamw, FSDP2 over 8 GPUs"),
        ("run.dtype", ("float32", "bfloat16"), "batch 1, training with adamw, FSDP2 over 8 GPUs"),
        ("run.optimizer", ("sgd", "adamw"), "float32, training, FSDP2 over 8 GPUs"),
    ],
)
def test_the_heading_says_of_a_run_what_all_points_share(key, values, says):
    base = ["depth=1", "image_size=32", "run.mode=training", "run.parallel=fsdp2", "run.gpus=8"]
    axis = Variation(key, tuple(parse_override(f"{key}={value}") for value in values))
    report = sweep(["vit_b"], Grid(variations=(axis,)), ["flops"], laid_over=tuple(map(parse_override, base)))
    assert subtitle_of(report).endswith(says)


HAT = {
    "patch_size": 1,
    "patch_embed": "hat_pixels",
    "pos_embed": "none",
    "block": "hybrid_attention",
    "embed_dim": 8,
    "depth": 1,
    "num_heads": 1,
    "mlp_ratio": 1,
    "window_size": 3,
    "compress_ratio": 2,
    "squeeze_factor": 2,
}


@pytest.mark.parametrize("windows", [(3, 2), (2,)])
def test_an_image_is_padded_to_the_windows_of_each_point_where_all_layers_are_global_too(windows):
    config = load_config(HAT | {"image_size": 6})
    found = sweep([config], Grid(resolutions=((7, 7),), windows=windows), ["flops", "peak_bytes"])
    for row, window in enumerate(windows):
        alone = Passes(at(config.all_global(), {"height": 7, "width": 7, "window": window})).figures
        figures = {name: found.columns[f"{name}_all_global"][row] for name in ("flops", "peak_bytes")}
        assert figures == {"flops": alone.flops, "peak_bytes": alone.peak_bytes}
