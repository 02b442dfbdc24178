"""Fine-tuned SAM: Medical SAM Adapter and LoRA, against segment-anything, a restatement in plain torch, and torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.hash import config_hash
from samattn_cli.errors import ConfigError
from samattn_cli.families.adapter.stack import AdapterBlock
from samattn_cli.families.adapter.words import depth_grid
from samattn_cli.stack.encoder import build, freeze
from samattn_cli.stack.step import Step
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
from tests.public import adapter as public_adapter
from tests.public.segment_anything_encoder import official, official_encoder
from tests.support.problems import messages_of
from tests.support.score_matrices import assert_scores_are_those_of_the_layers
from tests.support.weights import randomised

SMALL = {
    "image_size": 64,
    "patch_size": 16,
    "block": "sam_adapter",
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 4,
    "rel_pos": "decomposed",
    "window_size": 3,
    "global_attn_indexes": [1],
    "neck": "sam",
    "out_chans": 8,
}
VOLUMES = {"depth_slices": 6, "run": {"batch_size": 12}}
LORA = {"block": "sam_lora", "lora_rank": 2}


def small(**changes) -> EncoderConfig:
    return load_config(SMALL | changes)


def run(config: EncoderConfig, **changes) -> EncoderConfig:
    return replace(config, run=replace(config.run, **changes))


def image_of(config: EncoderConfig) -> Tensor:
    return torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


# -- parameters and FLOPs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", public_adapter.PRESETS)
def test_parameters_and_flops_equal_those_of_segment_anything_and_what_is_added(preset):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == public_adapter.count(preset)


@pytest.mark.parametrize(
    ("preset", "params", "flops"),
    [
        ("med_sam_adapter_b", 100_322_304, 1_033_853_140_992),
        ("med_sam_adapter_l", 346_119_168, 3_208_699_838_464),
        ("med_sam_adapter_h", 715_822_848, 6_427_463_221_248),
    ],
)
def test_figures_of_images(preset, params, flops):
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == (params, flops)


@pytest.mark.parametrize(
    ("size", "per_block", "windowed", "whole"),
    [("b", 887_616, 5.306, 4.832), ("l", 1_576_704, 9.433, 8.590), ("h", 2_462_400, 14.739, 13.422)],
)
def test_what_adapters_add_to_a_block(size, per_block, windowed, whole):
    adapted, plain = (forward(load_config(name)) for name in (f"med_sam_adapter_{size}", f"sam_vit_{size}"))
    blocks = [
        (one.recording, other.recording)
        for one, other in zip(adapted.segments, plain.segments, strict=True)
        if one.layer
    ]
    assert {one.params - other.params for one, other in blocks} == {per_block}
    assert {round((one.flops - other.flops) / 1e9, 3) for one, other in blocks} == {windowed, whole}


@pytest.mark.parametrize("slices", [4, 12])
def test_volumes_add_a_second_attention_over_depth(slices):
    config = small(depth_slices=slices, run={"batch_size": 2 * slices})
    images = forward(small(run={"batch_size": 2 * slices}))
    volumes = forward(config)
    assert volumes.params == images.params
    rows, columns = {4: (1, 4), 12: (3, 4)}[slices]
    T, C = 2 * slices * (36 + 16 + 36), 32  # windows of 3 cover a grid of 4 by 6
    added = 8 * T * C**2 + 4 * T * slices * C + 2 * T * C * (rows + columns) + 4 * T * C * C // 4
    assert volumes.flops - images.flops == added


def test_lora_adds_two_matrices_to_queries_and_to_values():
    adapted, plain = forward(load_config("sam_vit_b_lora")), forward(load_config("sam_vit_b"))
    assert adapted.params - plain.params == 12 * 4 * 768 * 4 == 147_456
    tokens = 8 * 4900 + 4 * 4096
    assert adapted.flops - plain.flops == 2 * 4 * 768 * 4 * tokens


@pytest.mark.parametrize(
    ("slices", "grid"), [(2, (1, 2)), (4, (1, 4)), (9, (1, 9)), (12, (3, 4)), (36, (4, 9)), (96, (8, 12))]
)
def test_slices_as_a_grid(slices, grid):
    assert depth_grid(slices) == grid


@given(slices=st.integers(2, 3000))
def test_slices_are_factored_as_their_code_does(slices):
    assert depth_grid(slices) == public_adapter._closest_numbers(slices)


@pytest.mark.parametrize("changes", [{}, VOLUMES, {"window_size": 2}, LORA])
def test_score_matrices_are_as_large_as_those_that_are_made(changes):
    assert_scores_are_those_of_the_layers(forward(small(**changes)))


# -- values -----------------------------------------------------------------------------------------------------------


def test_adapters_that_give_nothing_leave_sam_as_it_is():
    config = small(window_size=2)  # padding is normed otherwise
    theirs, ours = randomised(official_encoder(config), 0.3), build(config)
    assert not ours.load_state_dict(theirs.state_dict(), strict=False).unexpected_keys
    for name, weight in ours.named_parameters():
        if ".D_fc2." in name:
            nn.init.zeros_(weight)
    with torch.no_grad():
        assert_close(ours(image_of(config)), theirs(image_of(config)))


def restated(block: AdapterBlock, x: Tensor) -> Tensor:
    """The block of Medical SAM Adapter as its paper and code have it, with segment-anything's attention."""
    weights, dim = dict(block.named_parameters()), x.shape[-1]
    window, slices = block.window_size and block.window_size[0], block.depth_slices
    attention = official.Attention(dim, 4, use_rel_pos=True, input_size=block.window_size or (4, 4))
    attention.load_state_dict(block.attn.state_dict())

    def norm(name: str, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, (dim,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def bottleneck(name: str, tokens: Tensor) -> Tensor:
        (a, b), (c, d) = (
            (weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"])
            for layer in ("D_fc1", "D_fc2")
        )
        return F.gelu(tokens @ a.T + b) @ c.T + d

    windows, padded = official.window_partition(x, window) if window else (x, None)
    attended = attention(norm("norm1", windows))
    attended = attended + bottleneck("Space_Adapter", attended)
    if slices:
        apart = attended.clone()
        for first in range(0, len(windows), slices):
            for row in range(windows.shape[1]):
                for column in range(windows.shape[2]):
                    place = (slice(first, first + slices), row, column)
                    over_depth = attention(norm("norm1", windows[place]).view(1, *depth_grid(slices), dim))
                    apart[place] += bottleneck("Depth_Adapter", over_depth).view(slices, dim)
        attended = apart
    if window:
        attended = official.window_unpartition(attended, window, padded, x.shape[1:3])
    x = x + attended
    normed = norm("norm2", x)
    mlp = F.linear(
        F.gelu(F.linear(normed, block.mlp.lin1.weight, block.mlp.lin1.bias)), block.mlp.lin2.weight
    )
    return x + mlp + block.mlp.lin2.bias + 0.5 * bottleneck("MLP_Adapter", normed)


@pytest.mark.parametrize(
    ("changes", "kernel"),
    [
        ({}, "eager"),
        ({}, "sdpa"),
        (VOLUMES, "eager"),
        ({"depth_slices": 4, "window_size": 2, "run": {"batch_size": 4}}, "fused"),
    ],
)
def test_adapters_do_what_their_code_does(changes, kernel):
    config = run(small(**changes), attention=kernel)
    encoder = randomised(build(config), 0.3)
    x = torch.randn(config.run.batch_size, 4, 4, 32, generator=torch.Generator().manual_seed(1))
    for block in (encoder.blocks["0"], encoder.blocks["1"]):
        with torch.no_grad():
            assert_close(block(x), restated(block, x))


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "fused"])
def test_lora_is_sam_with_other_queries_and_values(kernel):
    config = run(small(**LORA), attention=kernel)
    ours, theirs = randomised(build(config), 0.3), official_encoder(config)
    weights = ours.state_dict()
    for index in range(3):
        qkv = f"blocks.{index}.attn.qkv"
        a_q, b_q, a_v, b_v = (
            weights.pop(f"{qkv}.linear_{which}.weight") for which in ("a_q", "b_q", "a_v", "b_v")
        )
        merged = weights.pop(f"{qkv}.qkv.weight") + torch.cat([b_q @ a_q, torch.zeros(32, 32), b_v @ a_v])
        weights |= {f"{qkv}.weight": merged, f"{qkv}.bias": weights.pop(f"{qkv}.qkv.bias")}
    theirs.load_state_dict(weights, strict=True)
    with torch.no_grad():
        assert_close(ours(image_of(config)), theirs(image_of(config)))


# -- memory, and what trains ------------------------------------------------------------------------------------------

AUTOCAST = {"autocast": "bfloat16", "attention": "sdpa", "checkpointing": True}
FUSED = {"attention": "fused", "dtype": "bfloat16"}
NO_BIAS = LORA | {"qkv_bias": False}  # autograd sees the projection another way


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, {}),
        ({}, {"trains": "all"} | AUTOCAST),
        (VOLUMES, {"autocast": "float16"}),
        (VOLUMES, AUTOCAST),
        (VOLUMES | {"image_size": [48, 80]}, {"trains": "all", "checkpointing": True}),
        (VOLUMES | {"window_size": 2}, {"trains": "all"} | FUSED),
        ({"depth_slices": 4, "run": {"batch_size": 4}}, {"trains": "all", "autocast": "bfloat16"}),
        (LORA, {}),
        (LORA, AUTOCAST),
        (LORA, {"trains": "all"} | FUSED),
        (NO_BIAS, {"trains": "all", "checkpointing": True}),
    ],
)
def test_the_tape_equals_torch(changes, how):
    config = run(small(**{"depth": 2} | changes), **{"trains": "adapters"} | how)
    assert verify(config, every_layer=False).status == "exact"


def test_a_preset_equals_torch():
    assert verify(load_config("med_sam_adapter_b"), every_layer=False).status == "exact"


@pytest.mark.parametrize(
    ("changes", "trains"), [({}, "adapters"), (VOLUMES, "adapters"), ({}, "all"), (LORA, "adapters")]
)
def test_the_weights_with_a_gradient_are_those_that_train_on_the_tape(changes, trains):
    config = run(small(**changes), trains=trains, mode="training")
    step, tape = Step(config, "cpu"), training_step(config)
    step()
    found = {
        name: weight.numel() for name, weight in step.model.named_parameters() if weight.grad is not None
    }
    said = {
        segment.qualified(weight.name)
        for segment in tape.forward.segments
        for weight in segment.recording.parameters
        if weight.trains
    }
    assert said == set(found)
    assert tape.trained_params == sum(found.values())
    assert len(step.optimizer.state) == len(found)


def test_nothing_is_kept_before_the_first_adapter():
    tape = training_step(load_config("med_sam_adapter_b"))
    first = next(segment for segment in tape.forward.segments if segment.layer)
    at = next(i for i, op in enumerate(first.recording.ops) if op.module.startswith("Space_Adapter"))
    assert tape.saved_bytes[:2] == (0, 0)  # patch_embed, pos_embed
    assert not any(op.saves for op in first.recording.ops[:at])
    assert tape.trained_params == 12 * 2 * (887_616 // 3) == 7_100_928
    # rounded up to 512 bytes: a bias of 192 numbers, one an adapter, takes 256 more
    assert tape.gradients_bytes == 4 * tape.trained_params + 24 * 256
    assert tape.optimizer_bytes == 2 * tape.gradients_bytes
    whole = training_step(run(load_config("med_sam_adapter_b"), trains="all"))
    assert tape.peak_bytes < whole.peak_bytes


@pytest.mark.parametrize("name", ["neck.0.weight", "pos_embed", "patch_embed.proj.weight"])
def test_neck_and_embeddings_are_frozen(name):
    config = run(small(), trains="adapters")
    assert not freeze(build(config, "meta"), config).get_parameter(name).requires_grad


def test_what_trains_is_no_matter_of_inference():
    config = small()
    frozen = run(config, trains="adapters")
    assert config_hash(config) == config_hash(frozen)
    assert config_hash(run(config, mode="training")) != config_hash(run(frozen, mode="training"))
    low = {"autocast": "bfloat16"}  # which keeps copies of weights that train alone
    assert [segment.recording.ops[0].name for segment in forward(run(config, **low)).segments] == [
        segment.recording.ops[0].name for segment in forward(run(frozen, **low)).segments
    ]
    assert forward(run(frozen, **low)).segments[2].recording.cached


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"depth_slices": 6, "run": {"batch_size": 8}},
            "[slices-do-not-divide] depth_slices 6 run.batch_size 8",
        ),
        ({"depth_slices": 1}, "[not-a-volume] depth_slices 1 2 0"),
        (
            {"adapter_ratio": 0.01},
            "[no-channels-left] adapter_ratio 0.01 32",
        ),
        ({"rel_pos": "joint"}, "[rel-pos-of-block] rel_pos sam_adapter joint"),
        ({"lora_rank": 8}, "[unused-key] sam_adapter lora_rank sam_lora"),
        (
            {"block": "vit", "run": {"trains": "adapters"}},
            "[nothing-to-train] run.trains sam_adapter sam_lora",
        ),
        (LORA | {"lora_rank": 0}, "[out-of-range] lora_rank 1 0"),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(ConfigError) as caught:
        small(**changes)
    assert messages_of(caught) == [message]
