"""Fine-tuned SAM: Medical SAM Adapter and LoRA, against segment-anything, a restatement in plain torch, and torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.hash import config_hash
from samattn_cli.families.adapter.words import depth_grid
from samattn_cli.stack.encoder import build, freeze
from samattn_cli.stack.step import Step
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
from tests.public import adapter as public_adapter
from tests.public.adapter import LORA, RECORDS, VOLUMES
from tests.public.segment_anything_encoder import official_encoder
from tests.support.weights import randomised


def small(**changes) -> EncoderConfig:
    return RECORDS[0].config(changes)


def run(config: EncoderConfig, **changes) -> EncoderConfig:
    return replace(config, run=replace(config.run, **changes))


def image_of(config: EncoderConfig) -> Tensor:
    return torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


# -- parameters and FLOPs ---------------------------------------------------------------------------------------------


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
    config = small(depth_slices=slices, **{"run.batch_size": 2 * slices})
    images = forward(small(**{"run.batch_size": 2 * slices}))
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


# -- memory, and what trains ------------------------------------------------------------------------------------------


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
