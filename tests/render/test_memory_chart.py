"""The chart of memory over a pass: what it draws of a timeline, its peak, its limit, and its size."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from samattn_cli import analyze, load_config, load_device, render
from samattn_cli.render.charts import area, convert
from samattn_cli.render.charts.area import Band, Limit, Picture, Span
from samattn_cli.render.options import Options
from samattn_cli.render.pages.memory_chart import BANDS, chart
from samattn_cli.studies.memory_timeline import ALL_KINDS

MIB = 2**20
OPTIONS = Options(chart="memory")
LARGEST_SVG = 300_000


@pytest.fixture(scope="module")
def report() -> Any:
    config = load_config(
        "sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]", "run.mode=training"]
    )
    return analyze(config, device=load_device("a100_80", "DEVICE"), verify=False, timeline=True)


def picture(count: int, limit: Limit | None = None) -> Picture:
    """Weights of 6 MiB, and activations that go up to 4 MiB and back."""
    half = count // 2
    activations = [min(place, count - place) * 4 * MIB // half for place in range(count)]
    bands = (Band("weights", "#0072B2", [6 * MIB] * count), Band("activations", "#E69F00", activations))
    layers = (Span("0", 0, half, "window"), Span("1", half, count, "global"))
    return Picture("title", "", bands, ["op"] * count, half, ("peak",), layers, (), limit)


def outline(spec: dict[str, Any], band: int) -> list[tuple[float, float]]:
    rows = spec["vconcat"][0]["layer"][0]["data"]["values"]
    return [(row["x"], row["y"]) for row in rows if row["k"] == band]


def test_heights_are_bytes_and_the_room_above_the_peak_is_for_its_name() -> None:
    spec = area.spec(picture(100))
    top, low = (max(y for _, y in outline(spec, band)) for band in (1, 0))
    assert top == round(area.HEIGHT / area.ROOM * area.STEPS) / area.STEPS
    assert low == round(area.HEIGHT / area.ROOM * 0.6 * area.STEPS) / area.STEPS


def test_a_band_that_stays_as_it_is_has_three_corners() -> None:
    assert [x for x, _ in outline(area.spec(picture(100)), 0)] == [0, 0, area.WIDTH]


def test_a_long_pass_is_drawn_by_few_points_and_keeps_its_peak() -> None:
    short, long = (area.spec(picture(count)) for count in (1000, 100_000))
    assert len(outline(long, 1)) <= area.POINTS + 2
    assert max(y for _, y in outline(long, 1)) == max(y for _, y in outline(short, 1))


def test_a_peak_of_one_allocation_of_very_many_is_a_pixel_wide() -> None:
    count, peak = 100_000, 50_010
    values = [MIB * (1 + (change == peak) * 9) for change in range(count)]
    values[peak + 1] = 0  # the lowest of the same few pixels
    bands = (Band("weights", "#0072B2", values),)
    corners = outline(area.spec(replace(picture(count), bands=bands, peak=peak)), 0)
    top = max(y for _, y in corners)
    ((begin, end),) = ((here[0], there[0]) for here, there in pairwise(corners) if here[1] == top)
    assert end - begin == 1
    assert abs(begin - peak / count * area.WIDTH) <= 1


def test_a_limit_above_the_peak_has_room_too() -> None:
    spec = area.spec(picture(100, Limit(20 * MIB, "a device")))
    assert max(y for _, y in outline(spec, 1)) == round(area.HEIGHT / area.ROOM / 2 * area.STEPS) / area.STEPS


def test_a_limit_is_drawn_up_to_twice_the_peak() -> None:
    assert [area.is_near(limit, 10) for limit in (5, 20, 21)] == [True, True, False]


def test_every_kind_is_in_one_band() -> None:
    assert sorted(kind for _, _, kinds in BANDS for kind in kinds) == sorted(ALL_KINDS)


def test_the_picture_names_the_peak_the_device_and_the_phases(report) -> None:
    text = json.dumps(chart(report))
    for words in (
        report.totals.allocated_at,
        f"{report.totals.allocated_bytes:,} bytes",
        "a100_80",
        "optimizer's step",
    ):
        assert words in text


def test_memory_that_was_asked_for_is_a_line() -> None:
    config = load_config("sam_vit_b", ["depth=2", "image_size=64", "global_attn_indexes=[1]"])
    found = analyze(config, memory=80 * MIB, verify=False, timeline=True)
    assert found.timeline.peak_bytes < 80 * MIB < 2 * found.timeline.peak_bytes
    assert "memory: 80.00 MiB" in json.dumps(chart(found))
    larger = replace(found, memory=replace(found.memory, usable_bytes=600 * MIB))
    assert "memory: 600.0 MiB, which is beyond this picture." in json.dumps(chart(larger))


def test_layers_are_drawn_unless_memory_is_asked_for(report, monkeypatch) -> None:
    monkeypatch.setattr(convert, "to_svg", json.dumps)
    assert "memory over" not in render.render(report, "svg", Options())
    assert "memory over" in render.render(report, "svg", OPTIONS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["sam_vit_h", "sam2_hiera_l"])
def test_the_picture_of_a_large_encoder_is_a_small_file(name) -> None:
    found = analyze(
        load_config(name, ["run.mode=training"]),
        device=load_device("h100", "DEVICE"),
        verify=False,
        timeline=True,
    )
    assert len(render.render(found, "svg", OPTIONS)) < LARGEST_SVG
    assert len(render.render(found, "html", OPTIONS)) < 1_200_000


def test_the_words_of_a_limit_stand_where_nothing_reaches_it() -> None:
    frame = area._Frame(100, 10.0)
    low, high = [1] * 100, [1, *[9] * 19, *[1] * 60, *[9] * 20]
    assert area._room_for_words(high, 5, 5, frame) == (frame.x(49.5), "center")
    assert area._room_for_words(low, 5, 10, frame) == (area.WIDTH - 4, "right")
    assert area._room_for_words(low, 5, 90, frame) == (4, "left")


def test_the_name_of_the_peak_is_raised_above_a_limit_that_is_near() -> None:
    frame = area._Frame(100, 100.0)
    near, far = area.Limit(55, "near"), area.Limit(95, "far")
    assert area._above_limit(near, frame, 50, 38) == frame.y(55) - frame.y(50)
    assert area._above_limit(far, frame, 50, 38) == 0
    assert area._above_limit(area.Limit(40, "below"), frame, 50, 38) == 0
    assert area._above_limit(None, frame, 50, 38) == 0
