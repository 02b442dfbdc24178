"""Equal blocks one after another are one entry of a pass; reports are as if each were looked up by itself."""

from __future__ import annotations

import pickle

import pytest

from samattn_cli import analyze, load_config, to_json
from samattn_cli.tape.driver import Driver
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk
from samattn_cli.tape.training import training_step
from tests.support.passes import forget_passes
from tests.support.sampling import sampled

DEEP = ["image_size=256", "depth=24", "global_attn_indexes=[7, 15, 23]"]
CASES = [
    ("sam_vit_b", [*DEEP, "run.mode=training", "run.accumulate=2"]),
    ("sam_vit_b", DEEP),
    ("sam_vit_b", [*DEEP, "run.mode=training", "run.checkpointing=blocks.3-9"]),
    ("sam_vit_b", [*DEEP, "run.mode=training", "run.trains=blocks.12-23"]),
    ("sam_vit_b", [*DEEP, "run.grad=true"]),
    ("sam_vit_b", [*DEEP, "run.mode=training", "run.parallel=fsdp2", "run.gpus=8"]),
    ("vit_b", ["run.mode=training"]),
]


def one_by_one(monkeypatch, preset, changes):
    """The report of an encoder in which each twin is found by itself, and how many there are."""
    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_recurs", lambda *_: False)
        forget_passes()
        config = load_config(preset, changes)
        return analyze(config, verify=False), len(forward(config).twins)


@pytest.mark.parametrize(("preset", "changes"), sampled(CASES, 4))
def test_a_report_is_as_if_each_block_were_looked_up(monkeypatch, preset, changes):
    alone, number = one_by_one(monkeypatch, preset, changes)
    forget_passes()
    config = load_config(preset, changes)
    report = analyze(config, verify=False)
    assert len(forward(config).twins) < number == len(forward(config).segments)
    assert to_json(report) == to_json(alone)
    assert report == alone == pickle.loads(pickle.dumps(report))


@pytest.mark.parametrize(("preset", "changes"), sampled(CASES, 4))
def test_segments_are_found_by_their_numbers(preset, changes):
    config = load_config(preset, changes)
    passed, step = forward(config), training_step(config)
    segments = passed.segments
    assert [passed.segment(number) for number in range(len(segments))] == list(segments)
    assert list(passed.names) == [segment.name for segment in segments] == [part.name for part in config.plan]
    assert [segment.layer for segment in segments if segment.layer] == list(config.layers)
    assert [block for block in passed.blocks if block is not None] == [layer.index for layer in config.layers]
    assert [segment.sources[0][0] for segment in segments] == ["", *passed.names[:-1]]
    lengths = (len(list(walk(passed))), len(step.kept), len(step.recordings), len(step.most))
    assert lengths == (len(segments),) * len(lengths)


@pytest.mark.parametrize(("preset", "changes"), sampled(CASES, 4))
def test_the_most_of_each_segment_is_the_larger_of_its_moments(preset, changes):
    step = training_step(load_config(preset, changes))
    for name, (nbytes, op) in zip(step.forward.names, step.most, strict=True):
        ahead, back = step.moments[name, "forward"], step.moments[name, "backward"]
        larger = back if back.nbytes > ahead.nbytes else ahead
        assert (nbytes, op) == (larger.nbytes, larger.at.removeprefix(f"{name}."))
    assert step.peak_bytes == max(moment.nbytes for moment in step.moments.values())
    assert (
        step.moments[max(step.moments, key=lambda section: step.moments[section].nbytes)].at == step.peak_at
    )


@pytest.mark.parametrize(
    "sharding", [[], ["run.parallel=fsdp2", "run.gpus=8"], ["run.parallel=zero2", "run.gpus=8"]]
)
def test_the_layer_at_the_peak_of_a_step_names_the_same_operation_as_the_totals(sharding):
    report = analyze(load_config("sam_vit_b", ["run.mode=training", *sharding]), verify=False)
    layer = next(layer for layer in report.layers if layer.training_bytes == report.totals.training_bytes)
    assert f"{layer.name}.{layer.training_op}" == report.totals.training_at
