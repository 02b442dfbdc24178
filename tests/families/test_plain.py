from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.errors import ConfigError
from samattn_cli.families.plain.stack import random_masking
from samattn_cli.stack.encoder import build
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
from tests.public.plain import PRESETS, count, official, renamed
from tests.support.problems import messages_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers
from tests.support.weights import randomised

TABLE = {
    "vit_b": (85_798_656, 35_126_120_448),
    "vit_l": (303_301_632, 123_107_377_152),
    "vit_h": (630_764_800, 334_587_658_240),
    "mae_b_pretrain": (111_907_840, 19_562_266_624),
    "mae_l_pretrain": (329_541_888, 41_511_567_360),
    "mae_h_pretrain": (657_074_508, 97_123_823_616),
}

VIT = {
    "image_size": [48, 80],
    "patch_size": 16,
    "block": "plain",
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2.7,
    "pos_embed": "class_token",
    "norm": True,
}
STAGE = {key: VIT[key] for key in ("block", "embed_dim", "depth", "num_heads", "mlp_ratio")}
MASKED = {"image_size": 80, "patch_size": 16, "pos_embed": "mae", "mask_ratio": 0.7}
DECODER = {"transition": "mae_decoder", "block": "plain", "embed_dim": 16, "depth": 1, "num_heads": 2}
MAE = MASKED | {"stages": [STAGE], "norm": True}
PRETRAIN = MASKED | {"stages": [STAGE, DECODER], "neck": "mae_pred"}
SMALL = {"vit": VIT, "mae": MAE, "pretrain": PRETRAIN}


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_and_flops_equal_those_of_transformers(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == count(preset)


@pytest.mark.parametrize("preset", TABLE)
def test_the_figures_of_the_table(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == TABLE[preset]


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("encoder", SMALL.values(), ids=SMALL.keys())
def test_same_weights_and_same_noise_give_the_same_output(encoder, kernel, monkeypatch):
    config = load_config(encoder, ["run.batch_size=2", "stages.0.num_heads=6", f"run.attention={kernel}"])
    theirs, ours = randomised(official(config), 0.2), build(config)
    ours.load_state_dict(renamed(theirs.state_dict(), blocks=2), strict=True)
    image, noise = random(*config.input_shape), random(2, 25)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    with torch.no_grad():
        found, made = ours(image), theirs(image)
    expected = made.logits if encoder is PRETRAIN else made.last_hidden_state
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_masking_keeps_the_patches_with_the_least_noise_and_says_where_they_were(monkeypatch):
    noise = torch.tensor([[0.5, 0.1, 0.9, 0.3], [0.2, 0.8, 0.4, 0.6]])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    x = torch.tensor([[[0.0], [1], [2], [3]], [[4], [5], [6], [7]]])
    staying, mask, restore = random_masking(x, 2)
    assert staying[..., 0].tolist() == [[1, 3], [4, 6]]
    assert mask.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert restore.tolist() == [[2, 0, 3, 1], [0, 3, 1, 2]]


RUNS = {
    "eager, qkv without bias": ["stages.0.qkv_bias=false"],
    "three images, sdpa": ["run.attention=sdpa", "run.batch_size=3"],
    "sdpa in bfloat16": ["run.attention=sdpa", "run.dtype=bfloat16"],
    "eager in autocast": ["run.autocast=float16", "run.batch_size=2"],
    "checkpointed sdpa in autocast": [
        "run.autocast=bfloat16",
        "run.attention=sdpa",
        "run.checkpointing=true",
    ],
}


CROSSED = [(VIT, run) for run in RUNS.values()] + [(PRETRAIN, run) for run in RUNS.values()] + [(MAE, [])]


@pytest.mark.parametrize(("encoder", "run"), CROSSED)
def test_the_tape_equals_the_real_stack(encoder, run):
    verdict = verify(load_config(encoder, run), every_layer=False)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact"


@pytest.mark.parametrize("preset", ["vit_b", "mae_h_pretrain"])
def test_a_preset_equals_the_real_stack(preset):
    assert verify(load_config(preset), every_layer=False).status == "exact"


@pytest.mark.parametrize(("ratio", "staying"), [(0.0, 196), (0.75, 49), (0.9, 19), (0.99, 1)])
def test_patches_that_stay_are_rounded_as_in_the_code_of_mae(ratio, staying):
    config = load_config("mae_b", f"mask_ratio={ratio}")
    assert staying == int(196 * (1 - ratio))
    assert {(layer.grid, layer.extra_tokens) for layer in config.layers} == {((1, staying), 1)}


def test_fixed_positions_are_weights_without_gradient():
    frozen = {
        segment.qualified(weight.name)
        for segment in forward(load_config("mae_b_pretrain")).segments
        for weight in segment.recording.parameters
        if not weight.trains
    }
    assert frozen == {"pos_embed.pos_embed", "transitions.1.decoder_pos_embed"}


@pytest.mark.parametrize("encoder", SMALL.values(), ids=SMALL.keys())
def test_scores_are_as_large_as_said(encoder):
    assert_scores_are_those_of_the_layers(forward(load_config(encoder)))


def test_half_of_the_patches_masked_takes_the_figures_worked_out_by_hand():
    """B/16 at 224: 196 patches, 98 stay; N = 99; a block takes 2N(12C^2) + 4N^2 C."""
    passed = forward(load_config("mae_b", "mask_ratio=0.5"))
    N, C = 99, 768
    patches = 2 * 196 * 3 * 16 * 16 * C
    assert passed.flops == patches + 12 * (2 * N * 12 * C * C + 4 * N * N * C)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(ratio=st.floats(0, 0.95), batch_size=st.integers(1, 3))
def test_masking_spares_the_encoder_and_not_the_decoder(ratio, batch_size):
    changes = [f"mask_ratio={ratio}", f"run.batch_size={batch_size}"]
    passed = {segment.name: segment for segment in forward(load_config(PRETRAIN, changes)).segments}
    N, C, hidden = int(25 * (1 - ratio)) + 1, 24, int(24 * 2.7)
    block = 2 * N * (4 * C * C + 2 * C * hidden) + 4 * N * N * C
    assert passed["blocks.1"].recording.flops == batch_size * block
    assert passed["blocks.2"].recording.flops == batch_size * (2 * 26 * 12 * 16**2 + 4 * 26**2 * 16)
    assert passed["neck"].outputs[0].shape == (batch_size, 25, 3 * 16**2)


BAD = {
    "windows": (VIT, "window_size=7", "[always-global] window_size"),
    "windows of some blocks": (
        VIT,
        "overrides=[{blocks: [1], window_size: 7}]",
        "[always-global] window_size",
    ),
    "shift": (VIT, "shift_size=3", "[unused-key] plain shift_size swin"),
    "relative positions": (VIT, "rel_pos=decomposed", "[unused-key] plain rel_pos vit"),
    "no sequence": (VIT, "pos_embed=learned", "[layout-mismatch] block pos_embed class_token"),
    "sequence for others": (VIT, "block=vit", "[layout-mismatch] block vit grid pos_embed class_token sequence"),
    "neck of a grid": (VIT, "neck=sam", "[layout-mismatch] neck sam grid sequence"),
    "mask of class_token": (VIT, "mask_ratio=0.5", "[unused-key] pos_embed class_token mask_ratio mae"),
    "all masked": (MAE, "mask_ratio=0.97", "[no-patches-left] mask_ratio 0.97 25"),
    "ratio of one": (MAE, "mask_ratio=1", "[out-of-range] mask_ratio 1"),
    "ratio below zero": (MAE, "mask_ratio=-0.1", "[out-of-range] mask_ratio 0 -0.1"),
    "decoder without masking": (PRETRAIN, "pos_embed=class_token", "[needs-pos-embed] mae_decoder mae class_token"),
    "prediction without masking": (VIT, "neck=mae_pred", "[neck-needs-transition] neck mae_pred mae_decoder"),
    "a stage of windows behind": (
        PRETRAIN | {"stages": [STAGE, DECODER | {"block": "vit", "transition": "none", "embed_dim": 24}]},
        "neck=none",
        "[layout-mismatch] block",
    ),
    "a stage of windows before": (
        VIT | {"stages": [STAGE | {"block": "vit"}, STAGE]},
        "pos_embed=learned",
        "[layout-mismatch] block",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("encoder", "override", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said(encoder, override, message):
    encoder = {key: value for key, value in encoder.items() if "stages" not in encoder or key not in STAGE}
    with pytest.raises(ConfigError) as error:
        load_config(encoder, override)
    assert message in messages_of(error)


@pytest.mark.parametrize(("batch", "kept"), [(1, 197 * 768 * 4 - 768 * 4), (2, 0)])
def test_the_gradient_of_a_class_token_keeps_that_of_all_tokens_of_one_image(batch, kept):
    """Of one image it is a view, 3,072 bytes in 605,184; of two it is a sum of its own."""
    step = training_step(load_config("vit_b", [f"run.batch_size={batch}", "run.optimizer=sgd"]))
    output = batch * 197 * 768 * 4
    image = batch * 3 * 224 * 224 * 4
    moment = step.peaks["optimizer", "step"]
    assert moment - step.weights_bytes - step.gradients_bytes == image + 2 * output + kept


def test_a_class_token_in_training_is_torchs_to_the_byte():
    tiny = {"image_size": 8, "patch_size": 2, "block": "plain", "embed_dim": 16, "depth": 2, "num_heads": 2}
    verdict = verify(load_config(tiny | {"pos_embed": "class_token"}))
    assert verdict.status == "exact"
