import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from samattn_cli import render
from samattn_cli.cli.output import write_file
from samattn_cli.cli.output_files import file_format
from samattn_cli.errors import OutputError
from samattn_cli.render.charts import bars, lines, scales, strip
from samattn_cli.render.charts.bars import Bar
from samattn_cli.render.charts.lines import Line, Mark
from samattn_cli.render.charts.strip import Cell, Cost, Placement
from samattn_cli.render.charts.theme import COLORS
from samattn_cli.render.charts.thin import thin
from samattn_cli.render.formats import parquet
from samattn_cli.render.layout import Layout
from samattn_cli.render.options import Options
from tests.support.running import samattn
from tests.support.sampling import examples

SVG = "{http://www.w3.org/2000/svg}"
SIZES = (512, 768, 1024, 2048)
LONG_NAME = "a_config_with_underscores_and_a_name_that_goes_on"


def line(config: str = "sam_vit_h", variant: str = "as it is", factor: int = 1) -> Line:
    flops = tuple(factor * size**2 * 5_684_932 for size in SIZES)
    return Line(config, "FLOPs", "FLOP", SIZES, flops, variant)


SWEEP = lines.Picture(
    "Sweep of </script><b> & co",
    "batch 1",
    "image size (px)",
    (
        *(
            line(name, variant, factor)
            for name in ("sam_vit_h", LONG_NAME)
            for variant, factor in (("as it is", 1), ("all global", 2))
        ),
        Line("sam_vit_h", "inference peak", "B", SIZES, (2**29, 2**30, 2**31, 2**33)),
        Line("sam_vit_h", "measured / predicted", "ratio", SIZES, (1.01, 1.0, 0.99, 1.0)),
    ),
    (Mark("sam_vit_h", "FLOPs", "crossover", 1024, 5_961_082_830_848, "cheaper from here on"),),
)
STRIPS = strip.Picture(
    "Where the global layers are",
    "1024x1024",
    (
        Placement("own", (Cell("window", 0.05), Cell("global", 1.0)), (5_961_082_830_848, 2**31), own=True),
        Placement('it\'s "none"', (Cell("window", 0.05), Cell("window", 0.05)), (5_675_343_413_248, None)),
    ),
    (Cost("FLOPs", "FLOP"), Cost("inference peak", "B")),
    stages=(1, 1),
)
BARS = bars.Picture(
    "Layers",
    "1024x1024",
    (Cost("FLOPs", "FLOP"), Cost("peak", "B")),
    (
        Bar("blocks.0", "window", (176_867_942_400, 2**31)),
        Bar("blocks.1", "global", (248_302_796_800, 2**32)),
    ),
)
SPECS = {"bars": bars.spec(BARS), "lines": lines.spec(SWEEP), "strip": strip.spec(STRIPS)}


@dataclass(frozen=True)
class Drawn:
    """A report of a kind that only these tests have."""

    kind: str = "drawn"


@pytest.fixture
def in_format(monkeypatch):
    def run(name: str, **of):
        monkeypatch.setitem(render.LAYOUTS, Drawn.kind, lambda: Layout(page=None, rows=None, **of))
        return render.render_file(Drawn(), name, Options())

    return run


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


# -- files -----------------------------------------------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    return ["".join(found.itertext()) for found in ET.fromstring(svg).iter(f"{SVG}text")]


def test_svg_has_the_words_whole(in_format) -> None:
    found = texts(in_format("svg", chart=lambda _: SPECS["lines"]))
    assert SWEEP.title in found
    assert {"FLOPs", "inference peak", "sam_vit_h", LONG_NAME, "all global", "crossover"} <= set(found)
    assert {"1,024", "20 TFLOP", "2 GiB", "1x"} <= set(found)


def test_strips_have_the_figures_and_names(in_format) -> None:
    found = texts(in_format("svg", chart=lambda _: SPECS["strip"]))
    assert {"own", 'it\'s "none"', "5.96 TFLOP", "5.68 TFLOP", "2.00 GiB", "-", "5%", "global layer"} <= set(
        found
    )


def test_nothing_lies_outside_the_picture(spec, in_format) -> None:
    root = ET.fromstring(in_format("svg", chart=lambda _: spec))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for text, x, y in placed(root, 0.0, 0.0):
        assert 0 <= x <= width, text
        assert 0 <= y <= height, text


def placed(element: ET.Element, x: float, y: float):
    """Each text with where it begins, by the translations that it stands in."""
    if moved := re.match(r"translate\(([-\d.e]+),\s*([-\d.e]+)\)", element.get("transform", "")):
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag == f"{SVG}text" and element.get("opacity") != "0":
        yield "".join(element.itertext()), x, y
    for child in element:
        yield from placed(child, x, y)


def test_png_is_twice_the_size_of_the_svg(spec, in_format) -> None:
    png, root = in_format("png", chart=lambda _: spec), ET.fromstring(in_format("svg", chart=lambda _: spec))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    assert width == pytest.approx(2 * float(root.attrib["width"]), abs=2)
    assert height == pytest.approx(2 * float(root.attrib["height"]), abs=2)


def test_vega_lite_has_no_warning(spec, capfd) -> None:
    vega = vl_convert.vegalite_to_vega(spec, show_warnings=True)
    assert vega["marks"]
    assert "WARN" not in "".join(capfd.readouterr())


def test_what_the_pointer_does_is_kept_by_vega_lite() -> None:
    vega = vl_convert.vegalite_to_vega(SPECS["lines"])
    signals = {signal["name"] for signal in vega["signals"]}
    assert {"pick_config", "pick_variant", "zoom_panel_0", "zoom_panel_1", "zoom_panel_2"} <= signals


# -- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_panel_a_metric_a_colour_a_config_a_dash_a_variant() -> None:
    panels = SPECS["lines"]["concat"]
    assert [panel["title"]["text"] for panel in panels] == ["FLOPs", "inference peak", "measured / predicted"]
    colors = panels[0]["encoding"]["color"]["scale"]
    dashes = panels[0]["layer"][0]["encoding"]["strokeDash"]["scale"]
    assert dict(zip(colors["domain"], colors["range"], strict=True)) == {
        "sam_vit_h": COLORS[0],
        LONG_NAME: COLORS[1],
    }
    assert dashes["domain"] == ["as it is", "all global"]


def test_tooltips_are_exact() -> None:
    assert scales.exact(5_961_082_830_848, "FLOP") == "5,961,082,830,848 FLOP (5.96 TFLOP)"
    assert scales.exact(512, "B") == "512 B"
    assert scales.exact(1.5, "ms") == "1.50 ms"
    assert scales.exact(17.468, "ratio") == "17.47x"
    assert scales.exact(1, "layers") == "1 layer"


def test_an_axis_with_a_zero_is_linear() -> None:
    picture = replace(SWEEP, lines=(Line("a", "score matrices", "B", SIZES, (0, 1, 2, 4)),), marks=())
    (panel,) = lines.spec(picture)["concat"]
    assert panel["encoding"]["y"]["scale"]["type"] == "linear"
    assert panel["encoding"]["x"]["scale"] == {"type": "log", "base": 2, "nice": False, "padding": 10}


def test_a_linear_axis_keeps_to_one_unit() -> None:
    bars_ = tuple(Bar(f"blocks.{layer}", "window", (layer * 2**28,)) for layer in range(6))
    (panel,) = bars.spec(bars.Picture("a", "b", (Cost("peak", "B"),), bars_))["vconcat"]
    assert panel["encoding"]["y"]["axis"]["labelExpr"].endswith("format(datum.value / 1.0, '.4~g') + ' GiB'")
    assert [row["y"] for row in panel["data"]["values"]] == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_an_axis_of_words_keeps_their_order() -> None:
    types = ("float32", "bfloat16", "float16")
    picture = replace(SWEEP, lines=(Line("a", "peak", "B", types, (4, 2, 2)),), marks=())
    spec = lines.spec(picture)
    assert spec["concat"][0]["encoding"]["x"]["sort"] is None
    assert [row["x"] for row in spec["concat"][0]["data"]["values"]] == list(types)


# -- thinning --------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=400), st.integers(4, 60), st.integers(0, 3)
)
def test_thinning_keeps_ends_and_extremes(ys: list[int], most: int, start: int) -> None:
    xs = range(start, start + len(ys))
    kept = thin(xs, ys, most)
    assert kept == sorted(set(kept))
    assert len(kept) <= most
    assert {0, len(ys) - 1} <= set(kept)
    found = [ys[index] for index in kept]
    assert (min(found), max(found)) == (min(ys), max(ys))


def test_thinning_keeps_a_cliff() -> None:
    """Within a bucket's width of the axis, which is a thousandth of its three octaves."""
    xs = range(512, 4097)
    ys = [x + (10_000 if x > 1024 else 0) for x in xs]
    kept = thin(xs, ys, 200)
    below, above = (max(k for k in kept if ys[k] < 10_000), min(k for k in kept if ys[k] > 10_000))
    assert xs[above] / xs[below] < 2 ** (3 * 2 / 98)


def test_a_legend_says_what_tells_its_lines_apart() -> None:
    spec = lines.spec(replace(SWEEP, line_title="dtype"))
    colour = spec["concat"][0]["encoding"]["color"]
    assert (colour["field"], colour["legend"]["title"]) == ("config", "dtype")


def test_a_million_points_are_drawn_by_two_thousand_and_it_is_reported() -> None:
    many = range(1, 1_000_001)
    spec = lines.spec(replace(SWEEP, lines=(Line("a", "FLOPs", "FLOP", many, many),), marks=()))
    rows = spec["concat"][0]["data"]["values"]
    assert len(rows) <= lines.MOST
    assert (rows[0]["x"], rows[-1]["x"]) == (1, 1_000_000)
    assert "Lines of 1,000,000 points are drawn by at most 2,000 each" in " ".join(spec["title"]["subtitle"])


# -- Parquet ---------------------------------------------------------------------------------------------------------

VALUES = {
    "integers": st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    "large": st.none() | st.integers(0, 2**200),
    "floats": st.none() | st.floats(allow_nan=False),
    "texts": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    "flags": st.none() | st.booleans(),
}


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=8), st.integers(1, 3))
def test_parquet_gives_back_what_went_in(rows: list[dict], at_a_time: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROWS", at_a_time)
        patch.setitem(render.LAYOUTS, Drawn.kind, lambda: Layout(page=None, rows=lambda _: iter(rows)))
        file = render.render_file(Drawn(), "parquet", Options())
    found = pq.read_table(io.BytesIO(file)).to_pylist()
    if any((row["large"] or 0) >= 2**63 for row in rows):
        for row in found:
            row["large"] = None if row["large"] is None else int(row["large"])
    assert found == rows


# -- before the work is done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "module", "extra"),
    [
        ("sweep.svg", "vl_convert", "charts"),
        ("sweep.parquet", "pyarrow", "parquet"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_done(file, module, extra, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OutputError) as raised:
        file_format(tmp_path / file, list(render.FORMATS))
    assert raised.value.codes == ("not-installed",)
    assert raised.value.message.startswith(f"-o {tmp_path / file}: ")
    assert raised.value.message.endswith(f"pip install 'samattn[{extra}]'")
    assert raised.value.exit_code == 2


def test_formats_by_extension(tmp_path) -> None:
    extensions = {name: format_.extension for name, format_ in render.FORMATS.items() if format_.extension}
    assert extensions["parquet"] == ".parquet"
    for name, extension in extensions.items():
        assert file_format(tmp_path / f"sweep{extension.upper()}", list(render.FORMATS)) == name


def test_an_analysis_is_drawn_and_kept_as_parquet(tmp_path) -> None:
    files = [tmp_path / f"sam_vit_b{extension}" for extension in (".svg", ".parquet")]
    options = [text for file in files for text in ("-o", str(file))]
    assert samattn("analyze", "sam_vit_b", "--no-verify", *options).returncode == 0
    assert {"FLOPs", "inference peak", "11", "global"} <= set(texts(files[0].read_text()))
    rows = pq.read_table(files[1]).to_pylist()
    assert rows[-1]["flops"] == 972_077_334_528
    assert rows[-1]["flops"] == sum(row["flops"] for row in rows[:-1])


def test_a_kind_without_pictures_says_which_formats_it_has() -> None:
    result = samattn("verify", "sam_vit_b", "-o", "verdicts.svg")
    assert result.returncode == 2
    assert result.stderr.startswith("-o verdicts.svg: ")
    assert result.stderr.endswith(".txt, .json, .csv, .md, .html [unknown-extension]\n")


def test_bytes_are_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys) -> None:
    file = tmp_path / "a.png"
    write_file(file, b"\x00\r\n\xff")
    assert file.read_bytes() == b"\x00\r\n\xff"
    assert "wrote" in capsys.readouterr().err

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.chmod", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_file(file, b"other")
    assert file.read_bytes() == b"\x00\r\n\xff"
    assert list(tmp_path.iterdir()) == [file]


def test_start_imports_no_charting_library() -> None:
    code = "import sys; import samattn_cli.cli.app; sys.exit(any(m in sys.modules for m in ('vl_convert', 'pyarrow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
