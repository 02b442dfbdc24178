"""Every figure is defined once: its names work in every command, and each has its reader, its keys in reports and its unit."""

import json
from dataclasses import fields

import pytest

from samattn_cli import from_json, load_config, load_device, to_json
from samattn_cli.cli import complete
from samattn_cli.errors import UsageError
from samattn_cli.figures import (
    ALIASES,
    EXPLAINED,
    FIGURES,
    IN_MEMORY,
    OF_ENCODER,
    figure_for_option,
    named,
    of,
)
from samattn_cli.files.load import parse_override
from samattn_cli.gate.contributions import contributions
from samattn_cli.gate.lookup import MetricError
from samattn_cli.gate.readings import Encoder
from samattn_cli.metric_names import figure_in, needs_device, path_of, unit_of
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.reports.analysis import Comparison, Costs, Figures, LayerReport, OpReport, PartReport
from samattn_cli.studies.causes import causes, figure_behind
from samattn_cli.studies.diff import diff
from samattn_cli.studies.explain import explain
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.layers import LAYER, PART, segments_of
from samattn_cli.studies.metrics import metrics
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.compare import compare_placements
from samattn_cli.studies.placements.exhaustive import asked as search_of
from samattn_cli.studies.readers import COMPARED
from samattn_cli.studies.readers import FIGURES as READERS
from samattn_cli.studies.sweep import sweep
from tests.support.running import samattn
from tests.support.sampling import sampled

RECORDS = {"op": OpReport, "layer": LayerReport, "part": PartReport, "encoder": Costs}
NAMES = [(name, name) for name in FIGURES] + list(ALIASES.items())
OF_ENCODERS = [(word, name) for word, name in NAMES if name in OF_ENCODER]
SMALL = ("sam_vit_b", ["depth=4", "global_attn_indexes=[1,3]", "image_size=256"])


def small(mode="inference"):
    name, settings = SMALL
    return load_config(name, [*settings, f"run.mode={mode}"])


@pytest.fixture(scope="module")
def h100():
    return load_device("h100")


@pytest.mark.parametrize("scope", RECORDS)
def test_reports_have_the_figures_of_each_scope_and_no_others(scope):
    keys = {field.name for field in fields(RECORDS[scope])} & set(FIGURES)
    assert keys == {figure.name for figure in of(scope)}


def test_each_figure_has_its_reader():
    assert tuple(READERS) == OF_ENCODER
    assert {figure.name for figure in of("layer")} <= set(LAYER)
    assert {figure.name for figure in of("part")} <= set(PART)
    assert set(COMPARED) == {field.name for field in fields(Comparison)} - {
        field.name for field in fields(Figures)
    }


def test_names_are_told_apart_and_units_are_those_of_the_keys():
    words = [*FIGURES, *ALIASES]
    assert len(set(words)) == len(words)
    assert len({figure.word for figure in FIGURES.values()}) == len(FIGURES)
    for name, figure in FIGURES.items():
        assert name in {"bytes_read", "bytes_written"} or unit_of(f"layers.7.{name}") == figure.unit
        assert figure.name == name == named(name.upper().replace("_", "-"))


@pytest.mark.parametrize(("word", "name"), NAMES)
def test_each_name_is_explained_listed_and_completed(word, name):
    (found,) = metrics(word).metrics
    assert (found.name, found.unit) == (name, FIGURES[name].unit)
    assert word in complete.all_metrics()
    if name in EXPLAINED:
        assert explain(small(), "1", figure_for_option("--metric", word, EXPLAINED)).value > 0
    else:
        with pytest.raises(UsageError, match=r"has no formula.* params, .*\[figure-not-usable\]"):
            figure_for_option("--metric", word, EXPLAINED, "has no formula")


@pytest.mark.parametrize("mode", sampled(["training", "inference"], 2))
def test_every_figure_is_the_same_in_every_command(mode, h100):
    """analyze is the reference: sweep, a search of placements, diff and a threshold have its numbers."""
    config = small(mode)
    passes, unsearched = Passes(config, h100), compare_placements(config, ["none"], device=h100)
    swept = sweep(
        ["sam_vit_b"], Grid(resolutions=((256, 256),)), OF_ENCODER, device=h100, laid_over=_overrides(mode)
    )
    encoder = Encoder(config, h100)
    for name in OF_ENCODER:
        value = getattr(passes.costs, name)
        close = pytest.approx(value, rel=1e-12)
        assert swept.columns[name][0] == close
        search = search_of("1", None, name)
        if name in IN_MEMORY or name == "communication_bytes":
            with pytest.raises(UsageError, match=f"{name} is .*figure-not-usable"):
                compare_placements(config, ["none"], device=h100, search=search)
            assert getattr(unsearched.own.figures, name) == close
        else:
            report = compare_placements(config, ["none"], device=h100, search=search)
            assert report.search.cost == name
            assert getattr(report.own.figures, name) == close
        assert encoder.readings(name)[0].value == close


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_an_alias_is_searched_and_judged_as_the_figure(mode, h100):
    encoder = Encoder(small(mode), h100)
    for word, name in OF_ENCODERS:
        assert search_of("1", None, word) == search_of("1", None, name)
        if word != "peak_memory" or mode == "inference":
            assert encoder.readings(word)[0].value == encoder.readings(name)[0].value


def _overrides(mode):
    return [parse_override(text) for text in (*SMALL[1], f"run.mode={mode}")]


@pytest.mark.parametrize(("word", "name"), OF_ENCODERS)
def test_the_cause_of_a_change_is_given_in_the_figure_itself(word, name, h100):
    """A second global layer: what is said of blocks.2 is its own figure, or what a peak is made of."""
    before = Passes(small(), h100)
    after = Passes(
        load_config("sam_vit_b", [*SMALL[1][:1], "global_attn_indexes=[1,2,3]", "image_size=256"]), h100
    )
    report = diff(before, after, metric=word)
    behind = figure_behind(path_of(word))
    told = FIGURES[name].causes or (name,)
    assert behind in {name, *told}
    changed = next(layer for layer in report.layers if layer.names == ("blocks.2",))
    lines = [line for line in causes(report, word) if line.startswith("blocks.2: ")]
    texts = [changed.figure(each).text for each in told if changed.figure(each)]
    assert [any(text in line for text in texts) for line in lines] == [True]


@pytest.mark.parametrize(("word", "name"), OF_ENCODERS)
def test_what_a_figure_comes_from_is_given_in_its_unit(word, name, h100):
    lines = contributions(Encoder(small(), h100), word)
    units = {"B": "iB", "FLOP": "FLOP", "MAC": "MAC", "params": "params", "ms": "s"}
    of_weights = name == "weights_bytes" or FIGURES[name].seen_in == "params"
    unit = "params" if of_weights else units[FIGURES[name].unit]
    assert lines
    assert all(unit in line for line in lines if ": " in line)


def test_a_threshold_by_what_is_allocated_needs_a_cuda_device(h100):
    """What it reads is what analyze has; on a CPU, and without a device, it says what it needs."""
    assert (
        Encoder(small(), h100).readings("allocated_memory")[0].value
        == Passes(small(), h100).costs.allocated_bytes
    )
    assert Encoder(small(), h100).readings("peak_workspaces")[0].value >= 32 << 20  # cuBLAS's on an H100
    for device in (None, load_device("cpu")):
        with pytest.raises(MetricError, match=r"allocated_memory needs a CUDA device: .*"):
            Encoder(small(), device).readings("allocated_memory")


def test_the_traffic_of_a_product_is_its_operands_and_its_result():
    """QKV of 4 windows of 14 x 14 tokens: 784 x 768 times 768 x 2304 and its bias, in 4 bytes each."""
    tokens, dim, made = 4 * 14 * 14, 768, 3 * 768
    found = explain(small(), "0.attn.qkv", "traffic_bytes")
    assert found.value == 4 * (tokens * dim + dim * made + made + tokens * made)


def test_the_traffic_of_a_training_step_is_that_of_all_that_it_runs():
    """Forward, backward, and AdamW, which reads 12 buffers of the size of the weights that train and writes 8."""
    passes = Passes(small("training"))
    ops = [op for section in passes.sections.values() for op in section]
    assert passes.figures.traffic_bytes == sum(op.bytes_read + op.bytes_written for op in ops)
    layers = sum(LAYER["traffic_bytes"](at) for at in segments_of(passes).values())
    step = passes.step.optimizer_op
    assert passes.figures.traffic_bytes - layers == step.bytes_read + step.bytes_written
    assert step.bytes_read + step.bytes_written == (12 + 8) * passes.step.gradients_bytes
    assert passes.figures.traffic_bytes > 2 * Passes(small()).figures.traffic_bytes
    with pytest.raises(UsageError, match=r"use --set run\.mode=inference"):
        explain(small("training"), "", "traffic_bytes")


def test_an_operations_figure_is_not_explained_by_flops():
    """A sibling of a figure without causes of its own: no layer has bytes_read, so no layer is named for it."""
    assert figure_behind("layers.1.ops.attn.qkv.bytes_read") == "bytes_read"
    report = diff(Passes(small()), Passes(small("training")), metric="layers.1.ops.attn.qkv.bytes_read")
    assert not any("FLOP" in line for line in causes(report, "layers.1.ops.attn.qkv.bytes_read"))
    assert contributions(Encoder(small()), "layers.1.ops.attn.qkv.bytes_read") == ()


@pytest.mark.parametrize(
    ("path", "behind"),
    [
        ("training.kept_bytes", "saved_bytes"),
        ("training.optimizer_bytes", "params"),
        ("training.step_ms", "latency_ms"),
        ("device.spare_bytes", ""),
        ("layers.window.count", "flops"),
        ("comparison.vs_all_global.latency_ratio", "latency_ms"),
        ("layers.7.attention_bytes_per_head", "attention_bytes"),
    ],
)
def test_bytes_and_times_are_never_explained_by_flops(path, behind):
    assert figure_behind(path) == behind


def test_what_needs_a_device_says_so():
    assert needs_device("latency")
    assert needs_device("latency_ratio_vs_global")
    assert not needs_device("peak_memory")
    assert figure_in("layers.7.vs_global.layer_flops_ratio").name == "flops"


def test_the_command_lists_all_and_shows_one():
    listed = samattn("metrics", "--format", "json")
    assert (listed.returncode, listed.stderr) == (0, "")
    found = json.loads(listed.stdout)
    assert [each["name"] for each in found["metrics"]][: len(FIGURES)] == list(FIGURES)
    assert {each["better"] for each in found["metrics"] if each["of"]} == {"less"}
    assert {each["better"] for each in found["metrics"] if not each["of"]} == {"more"}
    assert to_json(from_json(listed.stdout)) == listed.stdout
    one = samattn("metrics", "Peak-Memory")
    assert one.returncode == 0
    assert "inference peak" in one.stdout
    assert "also called peak_memory" in one.stdout
    wrong = samattn("metrics", "peek_memory")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("; did you mean 'peak_memory'? [unknown-metric]\n")


def test_only_a_figure_that_layers_have_says_how_those_of_layers_combine():
    """None of what GPUs send, of what is allocated and of what is reserved has a figure of a layer."""
    for name in ("communication_bytes", "reserved_bytes", "peak_gathered_bytes"):
        assert "of its parts and layers" not in render(metrics(name), "terminal", Options())
    assert "the sum of those of its parts and layers" in render(metrics("flops"), "terminal", Options())
