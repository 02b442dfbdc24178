import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.reports.text import from_json, to_json
from tests.support.running import samattn

SMALL = ("sam_vit_b", "--set", "depth=4", "--set", "global_attn_indexes=[1]", "--image-size", "256")


def test_json_has_what_analyze_says_and_comes_back():
    result = samattn(
        "compare-placements", *SMALL, "--placements", "0,2", "--search", "2", "--device", "h100", "-f", "json"
    )
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    config = load_config("sam_vit_b", ["depth=4", "global_attn_indexes=[0, 2]", "image_size=256"])
    totals = analyze(config, verify=False).totals
    own, asked = data["placements"]
    assert (data["kind"], own["names"], asked["names"]) == ("placements", ["own"], ["0,2"])
    assert asked["figures"]["flops"] == totals.flops
    assert asked["figures"]["training_bytes"] == totals.training_bytes
    assert asked["figures"]["latency_ms"] > own["figures"]["latency_ms"] * 0.5
    assert asked["flow"]["first_full_context"] == 0
    assert data["search"]["searched"] == 6
    assert {tuple(row["global_layers"]) for row in data["search"]["front"]} == {
        (0, 2)
    }  # 0,3 and 1,3 leave runs of 2
    assert to_json(from_json(result.stdout)) == result.stdout


def test_files_of_every_kind(tmp_path):
    names = ["a.csv", "a.md", "a.svg", "a.txt", "a.html", "a.parquet"]
    outputs = [part for name in names for part in ("-o", name)]
    result = samattn("compare-placements", *SMALL, "--search", "0:4", *outputs, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    assert [row["row"] for row in rows] == ["compared", *["front"] * (len(rows) - 1)]
    assert rows[0]["global_layers"] == "1"
    assert "| own " in (tmp_path / "a.md").read_text("utf-8")
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert "G" in (tmp_path / "a.txt").read_text("utf-8")
    assert all((tmp_path / name).stat().st_size for name in names)


def test_the_picture_fits_80_columns_and_plain_characters():
    result = samattn("compare-placements", "sam_vit_h", columns=80)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("▁▁▁▁▁▁▁G███████G███████G███████G" in line for line in lines)
    plain = samattn("compare-placements", "sam_vit_h", columns=80, PYTHONIOENCODING="ascii")
    assert plain.stdout.isascii()
    assert "_______G#######G#######G#######G" in plain.stdout


def test_color_makes_global_layers_stand_out():
    asked = ("compare-placements", *SMALL, "--placements", "none")
    colored = samattn(*asked, FORCE_COLOR="1", TERM="xterm-256color").stdout
    assert "\x1b[1;33mG\x1b[0m" in colored


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sam_vit_h", "--placements", "evn:4"), "did you mean 'even:4'?"),
        (
            ("sam_vit_h", "--placements", "some"),
            "--placements some: must be one of none, all, shifted, alternate, ",
        ),
        (("sam_vit_h", "--placements", "some"), "[unknown-strategy]"),
        (("sam_vit_h", "--search", "16", "--by", "peak_memory"), "601,080,390 placements"),
        (("sam_vit_h", "--budget", "flops <= 6"), "[missing-unit]"),
        (("sam_vit_h", "-o", "a.docx"), "[unknown-extension]"),
        (("vit_b",), "use blocks that take a window_size, such as vit or vitdet [no-windows]"),
        (("sam_vit_h_all_global",), "set a window_size [no-windows]"),
    ],
)
def test_bad_input_is_one_message(arguments, message):
    result = samattn("compare-placements", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
