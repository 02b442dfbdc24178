"""Hiera: counts that the paper gives, and where its blocks attend."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.errors import ConfigError
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("hiera_t", 28),
        ("hiera_s", 35),
        ("hiera_b", 51),
        ("hiera_b_plus", 70),
        ("hiera_l", 214),
        ("hiera_h", 673),
    ],
)
def test_parameters_are_those_that_the_paper_gives(preset, millions):
    """In millions, with the classifier: arXiv:2306.00989, Table 1, which has 51 for 51.5."""
    assert forward(load_config(preset)).params / 1e6 == pytest.approx(millions, abs=0.6)


def test_blocks_lag_a_stage_and_then_attend_to_all_tokens():
    layers = load_config("hiera_t").layers
    assert [layer.window_size[0] for layer in layers] == [8, 8, 4, 4, *[0] * 8]
    assert [layer.q_stride for layer in layers] == [1, 2, 1, 2, *[1] * 6, 2, 1]
    assert [layer.grid[0] for layer in layers] == [56, 56, 28, 28, *[14] * 7, 7]


SHORT = ["stages.2.depth=1", "image_size=64"]
OF_TRANSFORMERS = ["implementation=transformers", "run.attention=eager"]


@pytest.mark.parametrize(
    "changes",
    [
        SHORT,
        [
            *SHORT,
            "run.checkpointing=true",
            "neck=hiera_pool",
            "run.batch_size=2",
        ],  # a checkpoint for each stage
        pytest.param(["image_size=[64,96]", "run.autocast=bfloat16"], marks=pytest.mark.exhaustive),
        pytest.param(
            ["image_size=32", "run.dtype=float16"], marks=pytest.mark.exhaustive
        ),  # the last grid is 1x1
        pytest.param([*SHORT, "stages.3.q_stride=1", "neck=none"], marks=pytest.mark.exhaustive),
    ],
    ids=" ".join,
)
def test_hiera_of_transformers_is_derived_to_the_last_byte(changes):
    verdict = verify(load_config("hiera_t", [*OF_TRANSFORMERS, *changes]), every_layer=False)
    assert verdict.memory_trace.differences == ()
    assert verdict.status == "exact", verdict


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        (["run.attention=sdpa"], "run.attention", "kernel-not-modelled"),
        (["stages.2.embed_dim=400"], "stages.2.embed_dim", "implementation-cannot-run"),
        (["stages.1.global_attn_indexes=1"], "stages.1.global_attn_indexes", "implementation-cannot-run"),
        (
            ["stages.3.q_stride=1", "stages.3.window_size=2"],
            "stages.3.window_size",
            "implementation-cannot-run",
        ),
    ],
    ids=str,
)
def test_what_hiera_of_transformers_cannot_run_is_reported_at_its_place(changes, place, code):
    """Mask units of a stage that does not pool have another size there than in the paper's code."""
    with pytest.raises(ConfigError) as refused:
        load_config("hiera_t", [*OF_TRANSFORMERS, *changes])
    problems = [(problem.message.code, place in problem.where) for problem in refused.value.problems]
    assert (code, True) in problems, problems


def test_dropping_mask_units_saves_less_than_their_share():
    """30 of 49 mask units are dropped: the blocks of the encoder see 39 % of the tokens, the decoder sees all."""
    masked, whole = (forward(load_config("hiera_b_pretrain", words)) for words in ([], ["mask_ratio=0"]))
    assert (masked.params, masked.flops, whole.flops) == (78_635_648, 20_346_302_464, 36_277_448_704)
    (drop,) = (op for part in masked.segments for op in part.recording.ops if op.name == "drop.nonzero")
    assert (
        drop.requested_bytes == 19 * 64 * 96 * 3 * 8
    )  # a place for each number that stays, six times its bytes


def test_pretraining_by_transformers_names_what_is_not_taken():
    """HieraForPreTraining: its masking and its prediction."""
    with pytest.raises(ConfigError) as refused:
        load_config("hiera_b_pretrain", ["implementation=transformers", "run.attention=eager"])
    (problem,) = refused.value.problems
    assert problem.message.code == "implementation-not-modelled"
    assert all(word in problem.message for word in ("mask_units_mae", "hiera_pred"))
