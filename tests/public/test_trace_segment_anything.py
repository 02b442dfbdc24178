"""`samattn trace` of segment-anything's own encoder says what the Tape says, to the byte."""

from __future__ import annotations

import pytest
import torch

from samattn_cli import analyze, load_config
from samattn_cli.files.load import parse_override
from samattn_cli.stack.tracing.run import Inputs
from samattn_cli.stack.tracing.run import trace as run_and_record
from samattn_cli.studies.traced.passes import TracedPasses
from samattn_cli.studies.traced.report import report_of
from tests.public.segment_anything_encoder import official_encoder
from tests.support.ampere import ON_AMPERE

SMALL = ("embed_dim=48", "depth=3", "num_heads=3", "global_attn_indexes=[1]", "out_chans=16", "window_size=5")


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("sam_vit_b", ()),
        ("sam_vit_b", (*SMALL, "image_size=208", "run.batch_size=2")),
        ("sam_vit_b", (*SMALL, "image_size=128", "run.dtype=bfloat16")),
        ("sam_vit_b", (*SMALL, "image_size=96", "pos_embed=none")),
    ],
)
def test_a_trace_of_segment_anything_equals_the_tape(preset, settings):
    config = load_config(preset, [parse_override(text) for text in settings])
    ours = analyze(config, verify=False)
    theirs = traced(config)

    assert theirs.totals.params == ours.totals.params
    assert theirs.totals.flops == ours.totals.flops
    assert theirs.totals.attention_bytes == ours.totals.attention_bytes
    assert theirs.totals.peak_bytes == ours.totals.peak_bytes
    assert theirs.totals.training_bytes == ours.totals.training_bytes
    for what in ("gradients_bytes", "optimizer_bytes", "kept_bytes", "flops", "trained_params"):
        assert getattr(theirs.training, what) == getattr(ours.training, what), what
    assert {each.name: each.peak_bytes for each in (*theirs.parts, *theirs.layers)} == {
        each.name: each.peak_bytes for each in (*ours.parts, *ours.layers)
    }
    assert [(each.attention, each.windows, each.num_heads, each.grid) for each in theirs.layers] == [
        (each.attention, each.windows, each.num_heads, each.grid) for each in ours.layers
    ]


def traced(config):
    encoder = official_encoder(config, "meta")
    shapes = {"0": (config.input_shape, config.run.dtype)}
    with torch.device("meta"):  # their get_rel_pos makes its indices on the default device
        trace = run_and_record(encoder, Inputs(shapes, "meta"), "training", [], ON_AMPERE)
    return report_of(TracedPasses(trace), "official", "training", "adamw")
