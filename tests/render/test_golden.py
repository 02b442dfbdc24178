from pathlib import Path

import pytest

from tests.support.running import ROOT, UPDATE, samattn
from tests.support.torch_2_6 import SAYS_MORE

GOLDEN = Path(__file__).parent.parent / "golden"

CASES = {
    "analyze-80.txt": (("analyze", "sam_vit_h"), 80),
    "analyze-160.txt": (("analyze", "sam_vit_h", "--ops", "0"), 160),
    "analyze-all.txt": (("analyze", "sam_vit_b", "--all", "--no-verify"), 80),
    "analyze-ops-80.txt": (("analyze", "custom_encoder", "--no-verify", "--ops", "neck", "--ops", "2"), 80),
    "analyze-findings.txt": (("analyze", "sam_vit_b", "--no-verify", "--image-size", "200x250"), 80),
    "analyze.csv": (("analyze", "sam_vit_b", "--format", "csv", "--no-verify"), 80),
    "analyze.md": (("analyze", "sam_vit_b", "--format", "markdown", "--ops", "patch_embed"), 80),
    "placements-80.txt": (("compare-placements", "sam_vit_h"), 80),
    "placements-160.txt": (
        ("compare-placements", "swin_t", "--device", "h100", "--search", "2", "--placements", "even:2"),
        160,
    ),
    "placements-all-80.txt": (("compare-placements", "sam_vit_b", "--search", "3", "--all"), 80),
    "verify.txt": (("verify", "sam_vit_b", "vit_b"), 80),
    "fit-80.txt": (("fit", "sam_vit_b", "--memory", "8GiB", "--attention", "eager,sdpa"), 80),
    "fit-160.txt": (
        (
            "fit",
            "swin_t",
            "--device",
            "rtx_4090",
            "--vary",
            "batch-size,global-layers",
            "--mode",
            "inference",
        ),
        160,
    ),
    "fit.csv": (("fit", "vit_b", "--memory", "8GiB", "--format", "csv"), 80),
    "fit.md": (("fit", "vit_b", "--memory", "24GiB", "--mode", "training", "--format", "markdown"), 80),
    "plan-80.txt": (
        (
            *("plan", "vit_b", "--gpus", "2", "--device", "rtx_4090", "--global-batch", "4"),
            *("--autocast", "bfloat16", "--attention", "sdpa", "--batch-size", "2"),
        ),
        80,
    ),
    "plan-120.txt": (
        (
            *("plan", "vit_b", "--gpus", "2", "--devices", "rtx_4090,h100", "--price", "h100=2.9"),
            *(
                "--global-batch",
                "2",
                "--attention",
                "sdpa",
                "--set",
                "run.parallel=ddp",
                "--no-checkpointing",
            ),
        ),
        120,
    ),
    "explain-80.txt": (("explain", "sam_vit_h"), 80),
    "explain-160.txt": (("explain", "sam_vit_h", "7", "--metric", "peak_bytes"), 160),
    "explain.csv": (("explain", "sam2_hiera_t", "--metric", "params", "--format", "csv"), 80),
    "explain.md": (("explain", "sam_vit_b", "0", "--format", "markdown"), 80),
    "explain.tex": (("explain", "sam_vit_b", "7.attn.scores", "--format", "latex"), 80),
    "diff-80.txt": (("diff", "sam_vit_b", "sam_vit_l"), 80),
    "diff-160.txt": (
        (
            "diff",
            "sam_vit_h",
            "--set-after",
            "window_size=16",
            "--set-after",
            "run.dtype=bfloat16",
            "--device",
            "h100",
        ),
        160,
    ),
    "diff.csv": (("diff", "swin_t", "--set-after", "stages.2.depth=8", "--format", "csv"), 80),
    "diff.md": (("diff", "sam_vit_h", "sam_vit_h_all_global", "--format", "markdown"), 80),
    "configs.txt": (("configs",), 100),
}


SLOW = {"fit-80.txt", "fit-160.txt"} if not UPDATE else set()
"""They run each week. README shows a page of `fit` of the same form, and `fit.csv` and `fit.md` are in the suite."""

CROSS_CHECKED = {"analyze-80.txt", "analyze-160.txt", "analyze.md"}


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [*[pytest.mark.exhaustive] * (name in SLOW), *[SAYS_MORE] * (name in CROSS_CHECKED)]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in CASES])
def test_output_is_as_it_was(name: str) -> None:
    arguments, columns = CASES[name]
    result = samattn(*arguments, columns=columns)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(result.stdout, "utf-8")
    assert result.stdout == (GOLDEN / name).read_text("utf-8")


def test_the_schema_next_to_the_presets_is_fresh() -> None:
    result = samattn("schema")
    if UPDATE:
        (ROOT / "configs" / "schema.json").write_text(result.stdout, "utf-8")
    assert result.stdout == (ROOT / "configs" / "schema.json").read_text("utf-8")
