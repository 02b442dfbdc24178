"""The first lines of sweep, fit, diff, compare-placements, explain and trace are the answer."""

import json
import re

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app


def shown(*words: str) -> list[str]:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def answer(*words: str) -> list[str]:
    """The lines between the title and the first empty line."""
    lines = shown(*words)
    return [line.strip() for line in lines[1 : lines.index("")]]


def columns(*words: str) -> dict[str, list]:
    return json.loads("\n".join(shown(*words, "--format", "json")))["columns"]


def test_the_cheapest_window_is_that_without_padding() -> None:
    """A grid of 64 tokens: 8 divides it, 7 and 14 do not."""
    assert answer("sweep", "sam_vit_b", "--windows", "7,8,14") == ["cheapest window in FLOPs: 8, no padding"]


def test_the_cheapest_window_at_each_size() -> None:
    """At 448 px the grid is 28 tokens wide, which 7 divides and 8 does not; at 1024 px 64."""
    words = ("sweep", "sam_vit_b", "--resolutions", "448,1024,2048", "--windows", "7,8", "--metrics", "flops")
    flops = columns(*words)["flops"]
    seven, eight = flops[:3], flops[3:]
    assert [one < other for one, other in zip(seven, eight, strict=True)] == [True, False, False]
    assert answer(*words)[0] == "cheapest window in FLOPs: 8 at 2 of 3 (no padding), 7 at 1"


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ("1GiB", "✗ does not fit in 1.00 GiB at resolution 1024, the first"),
        ("6GiB", "✓ fits in 6.00 GiB up to resolution 1280, and not at 1536"),
        ("12GiB", "✓ fits in 12.00 GiB at every point"),
    ],
)
def test_the_largest_size_that_fits(memory: str, said: str) -> None:
    words = ("sweep", "sam_vit_b", "--resolutions", "1024:1536:256", "--metrics", "peak_bytes")
    most = int(memory.removesuffix("GiB")) * 2**30
    fits = [peak <= most for peak in columns(*words)["peak_bytes"]]
    assert fits == {"1GiB": [False] * 3, "6GiB": [True, True, False], "12GiB": [True] * 3}[memory]
    assert answer(*words, "--memory", memory)[0] == said


def test_lines_that_differ_have_a_line_each() -> None:
    words = ("--dtypes", "float32,bfloat16", "--modes", "inference,training", "--memory", "6GiB")
    assert answer("sweep", "sam_vit_b", *words) == [
        "! fits in 6.00 GiB: 3 of 4 points",
        "float32: with mode inference, and not with training",
        "bfloat16: all fit",
    ]


def test_without_windows_or_memory_a_sweep_says_its_range() -> None:
    """Twice the images, twice the FLOPs."""
    first, *_ = answer("sweep", "vit_b", "--batch-sizes", "1,2", "--metrics", "macs")
    low, high = map(float, re.findall(r"([\d.]+) GMAC", first))
    assert high == pytest.approx(2 * low, rel=1e-3)
    assert first.endswith("(batch 2)")


def test_fit_begins_with_the_kernel_of_the_config() -> None:
    words = ("fit", "sam_vit_b", "--memory", "3GiB", "--vary", "batch-size", "--mode", "inference")
    lines = shown(*words, "--set", "run.attention=sdpa")
    assert lines[1].startswith("✓ fits in 3.00 GiB in inference, sdpa: ")
    rows = [line.split() for line in lines[lines.index("Largest batch") :] if line.startswith("inference ")]
    kernels = [row[1] for row in rows]
    assert kernels == ["sdpa", "eager", "fused"]
    assert lines[2].strip() == f"largest in inference: batch {rows[0][2]}"


def test_fit_says_which_kernel_fits_if_the_own_one_does_not() -> None:
    words = ("fit", "sam_vit_b", "--memory", "1GiB", "--vary", "batch-size", "--mode", "inference")
    first, second = answer(*words)
    assert first.startswith("✗ does not fit in 1.00 GiB in inference, eager: lacks 1.68 GiB; ")
    assert first.endswith("fused fits")
    assert second == "largest in inference: not even a batch of 1"


def test_explain_shows_other_tools_only_if_asked() -> None:
    words = ("explain", "sam_vit_b", "--metric", "flops")
    lines = shown(*words)
    assert "What other tools say" not in lines
    assert any("--others" in line for line in lines)
    assert "What other tools say" in shown(*words, "--others")
    total, *terms = lines[1].strip().removeprefix("FLOPs = ").split(" = ")
    unit = {"M": 1e6, "G": 1e9, "T": 1e12}
    summed = 0.0
    for count, number, size in re.findall(r"(?:(\d+) × )?([\d.]+) ([MGT])", terms[0]):
        summed += int(count or 1) * float(number) * unit[size]
    number, size = total.split()
    assert summed == pytest.approx(float(number) * unit[size], rel=1e-3)


def test_diff_says_what_changes_the_cost() -> None:
    lines = answer("diff", "sam_vit_h", "examples/vit_h_window_8.yaml")
    assert lines[0] == "FLOPs 5.96 T → 5.48 T (-8.15 %), parameters 637,026,048 → 636,954,368 (-0.01 %)"
    assert lines[2] == "training peak 26.72 GiB → 23.79 GiB (-10.95 %)"
    assert lines[3].startswith("largest change: -371.7 GFLOP in blocks.0-6, 8-9, ")
    assert lines[3].endswith(" (26 layers, window 14x14 → window 8x8)")
    assert answer("diff", "sam_vit_b", "sam_vit_b") == ["✓ same cost: no figure differs"]


def test_placements_begin_with_the_cheapest() -> None:
    lines = answer("compare-placements", "sam_vit_b", *("--placements", "none", "--placements", "first:4"))
    assert lines == [
        "least FLOPs: none (790.5 GFLOP, 0.81x of own); tokens do not see all",
        "least FLOPs where every token sees all: own (972.1 GFLOP, 1.00x of own)",
        "least training peak of these: first:4 (7.15 GiB, 0.84x of own)",
    ]


def test_trace_begins_with_cost_and_peak() -> None:
    lines = answer("trace", "examples.my_module:Encoder", "--input", "1x3x512x512", "--device", "rtx_4090")
    assert lines[0].startswith("batch 1: ")
    assert "parameters" in lines[0]
    assert lines[0].endswith("of 6 layers attend globally")
    assert lines[1].startswith("peak in inference ")
    assert lines[2].startswith("✓ fits rtx_4090 (23.17 GiB), with ")


MESSAGE = "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 5.00 GiB is free."


def test_oom_has_a_row_of_one_line_for_each_operation_and_names_what_fits() -> None:
    result = CliRunner().invoke(app, ["oom", MESSAGE, "sam_vit_h"], env={"COLUMNS": "80"})
    lines = result.stdout.splitlines()
    start = lines.index("Operations that ask for it in the forward, the likeliest first")
    rows = lines[start + 3 : lines.index("", start)]
    assert rows[0].split() == ["8", "images", "attn.scores", "blocks.7,", "15,", "23,", "31", "3.94", "GiB"]
    assert "  other" not in result.stdout  # no row has it
    assert " ".join(rows[-2:]).startswith("live: what the encoder alone has allocated before. not first: ")
    assert "fused attention allocates least: 4.44 GiB, --set run.attention=fused" in " ".join(
        " ".join(lines[:start]).split()
    )


def test_a_metric_in_place_of_a_layer_is_explained() -> None:
    result = CliRunner().invoke(app, ["explain", "sam_vit_b", "FLOPs"])
    assert result.exit_code == 2
    assert "samattn explain sam_vit_b --metric flops" in result.stderr
    assert "[unknown-layer]" in result.stderr
