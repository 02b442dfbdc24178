"""The chart of a sweep: the memory and what fits it, windows along the axis, lines on each other, what the marks mean."""

from __future__ import annotations

from dataclasses import replace

from samattn_cli import Grid, sweep
from samattn_cli.render.charts import alike, lines
from samattn_cli.render.charts.lines import Line
from samattn_cli.render.pages.sweep_chart import chart
from samattn_cli.render.pages.sweep_marks import over_windows

SIDES = ((512, 512), (1024, 1024), (2048, 2048))
GIB = 1 << 30


def panel(spec, metric: str):
    return next(each for each in spec["concat"] if each["title"]["text"] == metric)


def marks_of(panel_) -> list[tuple[str, object]]:
    values = [layer["data"]["values"] for layer in panel_["layer"] if "data" in layer]
    return [(row["kind"], row["x"]) for rows in values for row in rows if "kind" in row]


def test_the_memory_is_a_line_and_the_largest_that_fits_is_marked() -> None:
    spec = chart(sweep(["sam_vit_b"], Grid(resolutions=SIDES), ["flops", "peak_bytes"], memory=8 * GIB))
    peak = panel(spec, "inference peak")
    [words] = [
        row["words"]
        for layer in peak["layer"]
        for row in layer.get("data", {}).get("values", ())
        if "words" in row and layer["mark"]["type"] == "rule"
    ]
    assert words == "8.00 GiB"
    assert marks_of(peak) == [("largest that fits", 1024)]
    assert "largest that fits" not in dict(marks_of(panel(spec, "FLOPs")))


def test_memory_that_all_points_fit_is_said_and_not_drawn_far_above_them() -> None:
    spec = chart(sweep(["sam_vit_b"], Grid(resolutions=SIDES[:2]), ["peak_bytes"], memory=2048 * GIB))
    assert "All points fit 2.00 TiB." in " ".join(spec["title"]["subtitle"])
    assert not marks_of(spec["concat"][0])
    assert not any("words" in str(layer.get("data")) for layer in spec["concat"][0]["layer"])


def test_windows_are_along_the_axis_and_the_cheapest_is_marked() -> None:
    report = sweep(["sam_vit_b"], Grid(windows=(7, 8, 14), resolutions=SIDES[1:]), ["flops"], memory=8 * GIB)
    spec = chart(report)
    flops = panel(spec, "FLOPs")
    assert flops["encoding"]["x"]["axis"]["title"] == "window (tokens a side), logarithmic"
    assert marks_of(flops) == [("cheapest", 8), ("cheapest", 8)]
    turned = over_windows(report)
    assert [line.label for line in turned.lines] == ["resolution 1024", "resolution 2048"]
    for line in turned.lines:
        rows = range(line.first, line.first + line.stride * line.count, line.stride)
        assert [report.columns["window"][row] for row in rows] == [7, 8, 14]
        assert len({report.columns["height"][row] for row in rows}) == 1


def test_many_resolutions_stay_along_the_axis() -> None:
    report = sweep(["sam_vit_b"], Grid(windows=(7, 8), resolutions=SIDES), ["flops"])
    assert over_windows(report) is report


def test_points_over_windows_that_do_not_fit_are_marked() -> None:
    grid = Grid(windows=(7, 8), resolutions=SIDES[1:])
    spec = chart(sweep(["sam_vit_b"], grid, ["peak_bytes"], memory=8 * GIB))
    assert marks_of(spec["concat"][0]) == [("does not fit", 7), ("does not fit", 8)]


def test_marks_say_what_they_mean_and_axes_that_they_are_logarithmic() -> None:
    spec = chart(sweep(["sam_vit_b"], Grid(resolutions=SIDES), ["flops"]))
    flops = panel(spec, "FLOPs")
    legends = [
        layer["encoding"]["shape"]["legend"]
        for layer in flops["layer"]
        if "shape" in layer.get("encoding", {})
    ]
    assert "cliff: windows stop dividing the grid here" in legends[0]["labelExpr"]
    assert "crossover: from here on this encoder is cheaper" in legends[0]["labelExpr"]
    assert flops["encoding"]["y"]["axis"]["title"] == "logarithmic"


ONE = Line("a", "peak", "B", (1, 2), (100, 1000))


def test_of_lines_on_each_other_one_is_drawn_and_the_others_are_named() -> None:
    others = (replace(ONE, variant="all global"), replace(ONE, config="b", ys=(100, 1001)))
    apart = replace(ONE, config="c", ys=(100, 1010))
    drawn, groups = alike.without_copies((ONE, *others, apart))
    assert drawn == [ONE, apart]
    assert groups == [[ONE, *others]]
    spec = lines.spec(lines.Picture("t", "s", "x", (ONE, *others, apart)))
    assert spec["concat"][0]["title"]["subtitle"] == ["a; a all global; b are nearly one line"]
    assert {row["config"] for row in spec["concat"][0]["data"]["values"]} == {"a", "c"}


def test_lines_of_other_places_are_not_the_same() -> None:
    shifted = replace(ONE, config="b", xs=(1, 3))
    assert alike.without_copies((ONE, shifted)) == ([ONE, shifted], [])
