"""Encoders that nobody published: blocks that have something of their own, stages of several kinds, 13 channels in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig, StageConfig
from samattn_cli.studies.changes import changes_of
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import walk
from samattn_cli.tape.segments import ForwardPass
from samattn_cli.tape.training import training_step
from tests.support.running import ROOT, samattn
from tests.support.sampling import examples

SATELLITE = ROOT / "examples" / "satellite_13_channels.yaml"
WIDTH = 12
WINDOWS = st.sampled_from([0, 1, 2, 3, 7, [3, 2], [5, 1], [1, 4]])
HEADS = st.sampled_from([1, 2, 3, 6])
MLPS = st.sampled_from([0.25, 1, 2.6, 4])


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    """Two or three of SAM's blocks in one or two stages, some of them with a window, heads or an MLP of their own."""
    stages, first = [], 0
    for depth in draw(st.sampled_from([(2,), (3,), (1, 1), (1, 2), (2, 1)])):
        blocks = range(first, first + depth)
        of_global = draw(st.sets(st.sampled_from(blocks)))
        stages.append(
            {
                "embed_dim": WIDTH,
                "depth": depth,
                "num_heads": draw(HEADS),
                "mlp_ratio": draw(MLPS),
                "rel_pos": draw(st.sampled_from(["none", "decomposed", "joint"])),
                "window_size": draw(WINDOWS),
                "global_attn_indexes": sorted(of_global),
                "overrides": [
                    {"blocks": [index], **own}
                    for index in blocks
                    if (own := draw(what_a_block_has(is_global=index in of_global)))
                ],
            }
        )
        first += depth
    size = draw(st.tuples(st.integers(4, 24), st.integers(4, 24)))
    run = draw(st.sampled_from([{}, {"dtype": "bfloat16"}, {"checkpointing": True, "autocast": "bfloat16"}]))
    return load_config({"image_size": list(size), "patch_size": 4, "stages": stages, "run": run})


def what_a_block_has(*, is_global: bool) -> st.SearchStrategy[dict[str, object]]:
    """What an override may give a block."""
    window = st.just(0) if is_global else WINDOWS
    return st.fixed_dictionaries({}, optional={"window_size": window, "num_heads": HEADS, "mlp_ratio": MLPS})


@pytest.mark.parametrize("examples", [2, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_any_mix_is_what_the_real_stack_is(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(encoders())
    def agree(config: EncoderConfig) -> None:
        verdict = verify(config)
        assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
        assert verdict.status == "exact"

    agree()


@settings(max_examples=examples(12), deadline=None, derandomize=True)
@given(encoders())
def test_what_some_blocks_have_costs_what_stages_of_their_own_cost(config: EncoderConfig) -> None:
    apart = replace(config, stages=tuple(stage_of_its_own(config)))
    assert figures(forward(apart)) == figures(forward(config))
    steps = training_step(apart), training_step(config)
    assert steps[0].peaks == steps[1].peaks
    assert steps[0].saved_bytes == steps[1].saved_bytes


def stage_of_its_own(config: EncoderConfig) -> list[StageConfig]:
    """A stage for each block, without overrides and indexes."""
    stages, first = [], 0
    for stage in config.stages:
        for index in range(first, first + stage.depth):
            given = [own for own in stage.overrides if index in own.blocks]
            own = {
                key: value
                for key in ("window_size", "num_heads", "mlp_ratio")
                for value in (getattr(each, key) for each in given)
                if value is not None
            }
            window = {"window_size": (0, 0)} if index in stage.global_attn_indexes else {}
            plain = replace(stage, depth=1, overrides=(), global_attn_indexes=())
            stages.append(replace(plain, **own | window))
        first += stage.depth
    return stages


def figures(passed: ForwardPass) -> list[tuple[object, ...]]:
    """What each part and block costs."""
    return [
        (part.name, part.recording.params, part.recording.flops, part.recording.elementwise_flops, used)
        for part, used in zip(passed.segments, walk(passed), strict=True)
    ]


def test_some_blocks_with_figures_by_hand() -> None:
    """A 6 x 6 grid, 12 channels. Block 1: 4 windows of 3 x 3 for one over the grid, 2 heads; block 2: an MLP of 24 for 48."""
    text = {"image_size": 24, "patch_size": 4, "embed_dim": 12, "depth": 3, "num_heads": 3}
    own = [{"blocks": [1], "window_size": 3, "num_heads": 2}, {"blocks": [2], "mlp_ratio": 2}]
    _, _, plain, windowed, thin = forward(load_config({**text, "overrides": own})).segments
    # 36 tokens: qkv 12 x 36, proj 12 x 12, MLP 2 x 12 x 48; scores and values 2 x 36 x 36 x 12
    assert plain.recording.macs == 36 * (432 + 144 + 1152) + 2 * 36 * 36 * 12
    assert windowed.recording.macs == 36 * (432 + 144 + 1152) + 2 * 4 * 9 * 9 * 12
    assert thin.recording.macs == 36 * (432 + 144 + 576) + 2 * 36 * 36 * 12
    assert plain.recording.params == windowed.recording.params == 12 * 12**2 + 13 * 12
    assert plain.recording.params - thin.recording.params == 2 * 12 * 24 + 24
    scores = [next(op for op in part.recording.ops if op.name == "attn.scores") for part in (plain, windowed)]
    assert [op.allocates[0].nbytes for op in scores] == [3 * 36 * 36 * 4, 2 * 4 * 9 * 9 * 4]


def test_the_example_is_analysed_and_exact() -> None:
    result = samattn("analyze", str(SATELLITE), "--full")
    assert result.returncode == 0, result.stderr
    assert "52,398,656 in 227 tensors" in result.stdout
    assert result.stdout.count("exact  ") == 4


def test_the_example_is_what_its_comments_say() -> None:
    config = load_config(SATELLITE)
    assert config.in_chans == 13
    assert config.grid == (64, 64)
    assert [layer.window_size for layer in config.layers] == [
        *[(8, 8)] * 5,
        *[(16, 16)] * 3,
        (0, 0),
        *[(16, 16)] * 2,
        (0, 0),
        *[(16, 16)] * 3,
        (0, 0),
    ]
    assert all(layer.padded_grid == layer.grid for layer in config.layers)
    assert [layer.stage.mlp_dim for layer in config.layers] == [1024] * 2 + [2048] * 13 + [1536]
    assert [layer.stage.num_heads for layer in config.layers] == [8] * 5 + [16] + [8] * 10
    patch_embed = forward(config).segments[0].recording
    assert patch_embed.params == 13 * 16 * 16 * 512 + 512


@pytest.mark.parametrize("config", [SATELLITE, "sam_vit_b"])
def test_what_is_to_be_set_for_a_change_makes_it(config: object) -> None:
    changes = changes_of(Passes(load_config(config)))
    assert "no global layer" in [change.change for change in changes]
    for change in changes:
        assert Passes(load_config(config, change.set)).peak_bytes == change.peak_bytes
