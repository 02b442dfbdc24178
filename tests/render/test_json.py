"""JSON of every kind of report: its keys, their order and types by the report's dataclass, and exact figures worked out here."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import (
    Goal,
    analyze,
    compare_placements,
    explain,
    fit,
    load_config,
    load_device,
    plan,
    sweep,
    to_json,
)
from samattn_cli.cli.app import app
from samattn_cli.reports.judgement import Errors, JudgedCase, JudgedPeak, Judgement
from samattn_cli.reports.published_memory import PublishedGroup, PublishedMemory, PublishedRow
from samattn_cli.reports.recording import read_recording
from samattn_cli.reports.text import FILES, KINDS
from samattn_cli.reports.verification import Verification, Verified
from samattn_cli.studies.diff import diff
from samattn_cli.studies.fit import Asked
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.metrics import metrics
from samattn_cli.studies.oom.answer import answer
from samattn_cli.studies.passes import Passes
from samattn_cli.tape.inside import Cuda
from tests.support.check_reports import REPORT as CHECK
from tests.support.report_schema import classes, page, problems, report_class
from tests.support.running import ROOT, UPDATE

PAGE = ROOT / "tests" / "golden" / "report-keys.txt"
RECORDING = ROOT / "samattn_cli" / "recordings" / "cpu-epyc-torch-2.13.json"
IMAGE, WIDTH, HEADS, MLP = 1024, 768, 12, 3072  # of SAM ViT-B
TOKENS = (IMAGE // 16) ** 2
OUT_OF_MEMORY = (
    'File "image_encoder.py", line 234, in forward\n    attn = attn.softmax(dim=-1)\n'
    "CUDA out of memory. Tried to allocate 768.00 MiB (GPU 0; 4.00 GiB total capacity; 2.00 GiB already allocated)"
)
WINDOW, WINDOWS = 14 * 14, 5 * 5  # 64 tokens a side are padded to 70


@pytest.fixture(scope="module")
def reports() -> dict[str, Any]:
    """One of each kind, by kind."""
    two_layers = load_config("sam_vit_b", ["depth=2", "global_attn_indexes=[1]"])
    peak = JudgedPeak("", "forward", 101, 100, 0.01)
    judged = JudgedCase(two_layers, "a device", "cuda", "", 8, peak, (peak,))
    analysis = analyze(two_layers, device=load_device("h100"))
    return {
        "analysis": analysis,
        "check": CHECK,
        "diff": diff(Passes(load_config("swin_t")), Passes(load_config("swin_t", ["stages.2.depth=8"]))),
        "explanation": explain(load_config("sam_vit_b"), "0.attn"),
        "fit": fit(
            load_config("sam_vit_b"),
            8 * 10**9,
            Asked(kernels=("fused",), vary=("batch_size", "global_layers")),
        ),
        "judgement": Judgement(
            cases=(judged,), whole_errors=Errors(0.01, 0.01), layer_errors=Errors(0.01, 0.01)
        ),
        "metrics": metrics(),
        "oom": answer(
            OUT_OF_MEMORY, two_layers, frozenset({"batch_size", "dtype", "mode", "attention"}), Cuda()
        ),
        "plan": plan(
            two_layers,
            [load_device("a100_80")],
            Goal(gpus=2, global_batch=2, given=frozenset({"attention", "autocast"})),
        ),
        "placements": compare_placements(two_layers),
        "published_memory": published(),
        "recording": read_recording(RECORDING),
        "sweep": sweep(["vit_b"], Grid(resolutions=((256, 256), (512, 512))), ["flops", "params"]),
        "verification": Verification(
            (Verified("a.yaml", analysis.crosscheck), Verified("b.yaml", error="is not a config"))
        ),
    }


def published() -> PublishedMemory:
    """A group of one figure, which takes no time to predict."""
    group = PublishedGroup(
        name="one",
        title="One",
        predicts="encoder",
        rows=1,
        compared=1,
        median=0.01,
        worst=0.01,
        is_judged=True,
        most_median=None,
        most_worst=0.02,
        most_step_bytes=None,
        unit="MiB",
        unit_bytes=2**20,
        is_within=True,
        unknown="nothing",
    )
    row = PublishedRow(
        group="one",
        model="a model",
        preset="vit_b",
        keys=("run.batch_size=2",),
        title="a page",
        address="https://example.org",
        seen="today",
        torch="2.2",
        device="A100",
        includes="all",
        figure="100",
        unit="MiB",
        unit_bytes=2**20,
        published_bytes=100 * 2**20,
        encoder_bytes=101 * 2**20,
        beside_bytes=0,
        predicted_bytes=101 * 2**20,
        is_fitted=False,
        error=0.01,
        step_bytes=None,
        published_step_bytes=None,
    )
    return PublishedMemory(groups=(group,), rows=(row,))


@pytest.fixture(scope="module")
def data(reports) -> dict[str, Any]:
    """The same as parsed JSON."""
    return {kind: json.loads(to_json(report)) for kind, report in reports.items()}


# -- keys and types --------------------------------------------------------------------------------------------------


def test_the_keys_of_reports_are_as_they_were() -> None:
    if UPDATE:
        PAGE.write_text(page(), "utf-8")
    assert page() == PAGE.read_text("utf-8")


@pytest.mark.parametrize("kind", [*KINDS, "recording"])
def test_json_has_the_keys_and_types_of_its_dataclass(kind, reports, data) -> None:
    record = classes()["Recording"] if kind in FILES else report_class(kind)
    assert type(reports[kind]) is record
    assert list(problems(data[kind], record, kind)) == []
    assert data[kind]["kind"] == kind


def test_what_does_not_fit_a_dataclass_is_found(data) -> None:
    """So that the test above can fail: a key too many, one that moved, a float for a count, text for a number."""
    record, sound = report_class("diff"), data["diff"]
    figure = sound["totals"][0]
    faulty = {
        "keys": {**sound, "more": 1},
        "order": dict(reversed(sound.items())),
        "text": {**sound, "totals": [{**figure, "before": "12"}]},
        "float": {**sound, "before_config": {**sound["before_config"], "in_chans": 3.0}},
        "word": {**sound, "kind": "sweep"},
        "flag": {**sound, "schema_version": True},
    }
    assert {name: len(list(problems(each, record, name))) for name, each in faulty.items()} == dict.fromkeys(
        faulty, 1
    )
    sizes = data["fit"]
    longer = {**sizes, "answers": [{**sizes["answers"][0], "curve": [[1, 2, 3]]}]}
    assert len(list(problems(longer, report_class("fit"), "length"))) == 1


EXPLAIN = ("explain", "sam_vit_b", "0.attn")
SWEEP = ("sweep", "vit_b", "--resolutions", "256,512", "--metrics", "flops,params")


@pytest.mark.parametrize(("kind", "arguments"), [("explanation", EXPLAIN), ("sweep", SWEEP)])
def test_commands_print_the_same(kind, arguments, reports) -> None:
    """The other commands print theirs in the tests of each."""
    printed = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert printed.exit_code == 0
    assert printed.stdout == to_json(reports[kind])


# -- figures ---------------------------------------------------------------------------------------------------------


def test_figures_of_an_analysis(data) -> None:
    analysis = data["analysis"]
    totals, (windowed, global_) = analysis["totals"], analysis["layers"]
    norms, tables = 4 * WIDTH, 2 * (2 * 64 - 1) * (WIDTH // HEADS)
    qkv, proj = 3 * WIDTH * (WIDTH + 1), WIDTH * (WIDTH + 1)
    mlp = 2 * WIDTH * MLP + MLP + WIDTH
    assert global_["params"] == norms + tables + qkv + proj + mlp == 7_104_128

    linear = TOKENS * (4 * WIDTH**2 + 2 * WIDTH * MLP)
    scores, positions = 2 * TOKENS**2 * WIDTH, 2 * TOKENS * 64 * WIDTH
    assert global_["macs"] == linear + scores + positions == 55_163_486_208
    assert global_["flops"] == 2 * global_["macs"]

    of_scores = [HEADS * WINDOWS * WINDOW**2 * 4, HEADS * TOKENS**2 * 4]
    assert (
        [layer["attention_bytes"] for layer in (windowed, global_)] == of_scores == [46_099_200, 805_306_368]
    )
    assert totals["attention_bytes"] == sum(of_scores)
    assert totals["weights_bytes"] == 4 * totals["params"] == 4 * 18_719_232
    assert [
        check["total"]
        for name, check in analysis["crosscheck"].items()
        if name in ("parameters", "flop_counter")
    ] == [
        totals["params"],
        totals["flops"],
    ]
    device = analysis["device"]
    assert device["spare_bytes"] == device["usable_bytes"] - device["allocated_bytes"]
    assert totals["peak_bytes"] <= device["allocated_bytes"] < device["reserved_bytes"]


def test_figures_of_a_diff(data) -> None:
    """Two more blocks of 384 in Swin-T's third stage; relative positions in windows of 7 are 13 x 13, for 12 heads."""
    width, mlp = 384, 1536
    block = (
        4 * width
        + 3 * width * (width + 1)
        + width * (width + 1)
        + 2 * width * mlp
        + mlp
        + width
        + 13 * 13 * 12
    )
    params = next(total for total in data["diff"]["totals"] if total["metric"] == "params")
    assert params["after"] - params["before"] == 2 * block
    assert [(key["key"], key["before"], key["after"]) for key in data["diff"]["keys"]] == [
        ("stages.2.depth", 6, 8)
    ]


def test_figures_of_an_explanation(data) -> None:
    """Attention in windows: qkv and proj, QK and AV, and relative positions along 14 rows and 14 columns."""
    tokens = WINDOWS * WINDOW
    assert (
        data["explanation"]["value"] == tokens * WIDTH * (4 * WIDTH + 2 * WINDOW + 2 * 14) == 13_141_094_400
    )
    assert sum(row["value"] * len(row["names"]) for row in data["explanation"]["rows"]) == 13_141_094_400


def test_figures_of_a_fit(data) -> None:
    for found in data["fit"]["answers"]:
        for encoder in filter(None, (found["fits"], found["next"])):
            assert encoder["peak_bytes"] + encoder["spare_bytes"] == 8 * 10**9
        assert found["fits"]["spare_bytes"] >= 0
        assert found["next"] is None or found["next"]["spare_bytes"] < 0


def test_figures_of_a_sweep(data) -> None:
    """ViT-B/16: a class token, 12 layers; the patch embedding is 16 * 16 * 3 by 768."""
    expected = []
    for side in (256, 512):
        patches = (side // 16) ** 2
        tokens = patches + 1
        layer = tokens * (4 * WIDTH**2 + 2 * WIDTH * MLP) + 2 * tokens**2 * WIDTH
        expected.append(2 * (12 * layer + patches * 768 * WIDTH))
    assert data["sweep"]["columns"]["flops"] == expected


def test_figures_of_placements(data) -> None:
    own, *others = data["placements"]["placements"]
    assert set(own["vs_own"].values()) == {1.0, None}
    for placement in others:
        ratio = placement["figures"]["flops"] / own["figures"]["flops"]
        assert placement["vs_own"]["flops_ratio"] == ratio
