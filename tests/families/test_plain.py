from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.errors import ConfigError
from samattn_cli.families.plain.stack import random_masking
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
from tests.public.plain import PRETRAIN
from tests.support.sampling import examples


def test_masking_keeps_the_patches_with_the_least_noise_and_says_where_they_were(monkeypatch):
    noise = torch.tensor([[0.5, 0.1, 0.9, 0.3], [0.2, 0.8, 0.4, 0.6]])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    x = torch.tensor([[[0.0], [1], [2], [3]], [[4], [5], [6], [7]]])
    staying, mask, restore = random_masking(x, 2)
    assert staying[..., 0].tolist() == [[1, 3], [4, 6]]
    assert mask.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert restore.tolist() == [[2, 0, 3, 1], [0, 3, 1, 2]]


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


def test_half_of_the_patches_masked_takes_the_figures_worked_out_by_hand():
    """B/16 at 224: 196 patches, 98 stay; N = 99; a block takes 2N(12C^2) + 4N^2 C."""
    passed = forward(load_config("mae_b", "mask_ratio=0.5"))
    N, C = 99, 768
    patches = 2 * 196 * 3 * 16 * 16 * C
    assert passed.flops == patches + 12 * (2 * N * 12 * C * C + 4 * N * N * C)


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(ratio=st.floats(0, 0.95), batch_size=st.integers(1, 3))
def test_masking_spares_the_encoder_and_not_the_decoder(ratio, batch_size):
    changes = [f"mask_ratio={ratio}", f"run.batch_size={batch_size}"]
    passed = {segment.name: segment for segment in forward(load_config(PRETRAIN, changes)).segments}
    N, C, hidden = int(25 * (1 - ratio)) + 1, 24, int(24 * 2.7)
    block = 2 * N * (4 * C * C + 2 * C * hidden) + 4 * N * N * C
    assert passed["blocks.1"].recording.flops == batch_size * block
    assert passed["blocks.2"].recording.flops == batch_size * (2 * 26 * 12 * 16**2 + 4 * 26**2 * 16)
    assert passed["neck"].outputs[0].shape == (batch_size, 25, 3 * 16**2)


@pytest.mark.parametrize(("batch", "kept"), [(1, 197 * 768 * 4 - 768 * 4), (2, 0)])
def test_the_gradient_of_a_class_token_keeps_that_of_all_tokens_of_one_image(batch, kept):
    """Of one image it is a view, 3,072 bytes in 605,184; of two it is a sum of its own."""
    step = training_step(load_config("vit_b", [f"run.batch_size={batch}", "run.optimizer=sgd"]))
    output = batch * 197 * 768 * 4
    image = batch * 3 * 224 * 224 * 4
    moment = step.peaks["optimizer", "step"]
    assert moment - step.weights_bytes - step.gradients_bytes == image + 2 * output + kept


TINY = {"image_size": 8, "patch_size": 2, "block": "plain", "embed_dim": 16, "depth": 1, "num_heads": 2}
TOKENS = {
    "a class token": {"pos_embed": "class_token"},
    "registers without a position": {
        "pos_embed": "class_token",
        "reg_tokens": 4,
        "layer_scale": True,
        "pretrain_image_size": 12,
        "mlp": "swiglu_packed",
    },
    "in front without positions": {
        "mlp": "swiglu",
        "pos_embed": "patches",
        "reg_tokens": 2,
        "layer_scale": True,
        "run": {"batch_size": 2, "autocast": "bfloat16"},
    },
    "no tokens in front": {
        "mlp": "gelu_tanh",
        "pos_embed": "patches",
        "class_token": False,
        "pretrain_image_size": 12,
    },
    "rotary positions": {
        "block": "dinov3",
        "pos_embed": "rotary",
        "reg_tokens": 4,
        "layer_scale": True,
        "run": {"batch_size": 2, "dtype": "bfloat16"},
    },
    "rotary positions, autocast": {
        "block": "dinov3",
        "pos_embed": "rotary",
        "qkv_bias": False,
        "run": {"autocast": "float16", "attention": "sdpa", "checkpointing": True},
    },
    "in front with positions": {"pos_embed": "tokens", "reg_tokens": 1, "pretrain_image_size": [12, 8]},
}


@pytest.mark.parametrize("tokens", TOKENS)
def test_tokens_in_front_and_mlps_are_torchs_to_the_byte_in_training_too(tokens):
    assert verify(load_config(TINY | TOKENS[tokens])).status == "exact"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"block": "dinov3", "pos_embed": "patches"}, ["needs-pos-embed"]),
        ({"pos_embed": "rotary"}, ["needs-block"]),
        ({"block": "dinov3", "pos_embed": "rotary", "num_heads": 8}, ["rotary-head-width"]),
        ({"block": "clip", "pos_embed": "class_token", "mlp": "swiglu"}, ["unused-key"]),
        ({"pos_embed": "class_token", "class_token": False}, ["unused-key"]),
    ],
)
def test_words_that_do_not_fit_each_other_are_refused(keys, said):
    with pytest.raises(ConfigError) as caught:
        load_config(TINY | keys)
    assert [problem.message.code for problem in caught.value.problems] == said


@pytest.mark.parametrize("mlp", ["swiglu", "swiglu_packed"])
def test_a_gate_is_a_third_linear_layer(mlp):
    """C = 16, 64 channels, 17 tokens: 65 * 16 parameters and 2 * 17 * 64 * 16 FLOPs more than without."""
    config = load_config(TINY | {"pos_embed": "class_token"})
    gated = load_config(TINY | {"pos_embed": "class_token", "mlp": mlp})
    one, other = forward(config), forward(gated)
    assert (other.params - one.params, other.flops - one.flops) == (64 * 16 + 64, 2 * 17 * 64 * 16)


def test_what_tokens_and_layer_scale_add_is_worked_out_by_hand():
    """C = 16, 16 patches: 4 registers add 4C and no positions; LayerScale adds 2C; positions of all tokens 21C."""
    bare = forward(load_config(TINY | {"pos_embed": "patches", "class_token": False})).params
    added = {
        "reg_tokens=4": 4 * 16,
        "class_token=true": 16,
        "layer_scale=true": 2 * 16,
    }
    for change, params in added.items():
        config = load_config(TINY | {"pos_embed": "patches", "class_token": False}, [change])
        assert forward(config).params - bare == params
    tokens = load_config(TINY | {"pos_embed": "tokens", "reg_tokens": 4})
    assert forward(tokens).params - bare == 5 * 16 + 5 * 16
    assert {layer.extra_tokens for layer in tokens.layers} == {5}
