"""`samattn trace --against CONFIG`: segment-anything's own encoder, and ports of it that are wrong."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.files.load import parse_override
from samattn_cli.stack.encoder import build
from samattn_cli.stack.tracing.run import Inputs
from samattn_cli.stack.tracing.run import trace as run_and_record
from samattn_cli.studies.traced.against import against
from samattn_cli.studies.traced.passes import TracedPasses
from tests.public.segment_anything_encoder import official_encoder
from tests.support.ampere import ON_AMPERE

SMALL = ("embed_dim=48", "depth=4", "num_heads=3", "out_chans=16", "window_size=5", "image_size=160")
GLOBAL = "global_attn_indexes=[1]"


def config_of(*settings):
    return load_config("sam_vit_b", [parse_override(text) for text in (*SMALL, *settings)])


def compared(built, config):
    module = official_encoder(built, "meta")
    inputs = Inputs({"0": (config.input_shape, "float32")}, "meta")
    return against(TracedPasses(run_and_record(module, inputs, "inference", [], ON_AMPERE)), config)


def test_their_own_encoder_is_equal():
    config = config_of(GLOBAL)
    found = compared(config, config)
    assert (found.equal, found.layers, found.differences) == (True, 4, ())


def test_a_port_with_another_global_layer():
    found = compared(config_of("global_attn_indexes=[1,3]"), config_of(GLOBAL))
    windows = next(each for each in found.differences if each.what == "windows")
    assert (windows.place, windows.config, windows.here) == ("blocks.3", 4, 1)
    assert "in 4 windows of 25 tokens in the config and globally, over 100 tokens here" in windows.text
    assert {each.what: each.place for each in found.differences}["FLOPs"] == "blocks.3"


@pytest.mark.parametrize(
    ("change", "what", "place"),
    [
        ("mlp_ratio=3", "parameters", ""),
        ("mlp_ratio=3", "FLOPs", "blocks.0"),
        ("depth=3", "layers", ""),
        ("rel_pos=none", "memory", "blocks.0"),
        ("pos_embed=none", "parameters", ""),
    ],
)
def test_the_first_difference_in_each_respect(change, what, place):
    found = compared(config_of(GLOBAL, change), config_of(GLOBAL))
    assert not found.equal
    assert (what, place) in [(each.what, each.place) for each in found.differences]


def test_tokens_off_the_grid_and_pooled_queries_are_no_difference():
    """A class token is attended to next to the grid; Hiera pools queries, not keys."""
    for name in ("vit_b", "sam2_hiera_t"):
        config = load_config(name, [parse_override("run.attention=sdpa")])
        inputs = Inputs({"0": (config.input_shape, "float32")}, "meta")
        module = build(config, "meta")
        found = against(TracedPasses(run_and_record(module, inputs, "inference", [], ON_AMPERE)), config)
        assert [each.text for each in found.differences if each.what in {"windows", "layers"}] == []
