"""Findings about how a training step is spread over GPUs."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.spreading_findings import of_spreading, padded_weights


def found(preset, *overrides):
    passes = Passes(load_config(preset, ["run.mode=training", *overrides]))
    return {finding.code: finding.message for finding in of_spreading(passes)}


def test_the_position_embedding_of_sam_is_named_with_what_helps():
    """12 MiB, 64 times; with its gradient and two numbers of AdamW four times 12 MiB, of which a 64th is 768 KiB."""
    message = " ".join(found("sam_vit_b", "run.parallel=fsdp2", "run.gpus=64").values())
    for words in (
        "pos_embed, (1, 64, 64, 768), has 12.00 MiB",
        "each of 64 GPUs gathers it into 768.0 MiB",
        "The first GPU has 48.00 MiB of its state",
        "along dimension 3",
        "each GPU has 768.0 KiB of its state",
        "ignored_params",
        "24 other weights are padded too",
    ):
        assert words in message


def test_of_7_gpus_no_dimension_is_divisible():
    message = " ".join(found("sam_vit_b", "run.parallel=zero3", "run.gpus=7", "run.optimizer=sgd").values())
    assert "gathers it into 84.00 MiB" in message
    assert "The first GPU has 24.00 MiB of its state" in message
    assert "along dimension" not in message


def test_what_is_gathered_in_bfloat16_is_half_and_a_frozen_weight_has_no_gradient():
    overrides = ("run.parallel=zero3", "run.gpus=8", "run.param_dtype=bfloat16", "run.trains=neck,blocks.11")
    message = found("sam_vit_b", *overrides)["fsdp2-padding"]
    assert (
        "has 6.00 MiB, and each of 8 GPUs gathers it into 48.00 MiB. The first GPU has 12.00 MiB" in message
    )


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("swin_t", ("run.parallel=zero3", "run.gpus=8")),  # 2 KiB of padding
        ("sam_vit_b", ("run.parallel=zero1", "run.gpus=8")),
        ("sam_vit_b", ("run.parallel=zero3", "run.gpus=1")),
    ],
)
def test_there_is_none_without_much_padding(preset, overrides):
    assert found(preset, *overrides) == {}


def test_what_is_padded_is_what_the_groups_gather_beyond_the_weights():
    passes = Passes(load_config("sam2_hiera_t", ["run.mode=training", "run.parallel=zero3", "run.gpus=64"]))
    gathered = sum(group.buffer_bytes for group in passes.step.groups.values())
    padding = sum(weight.padding_bytes for weight in padded_weights(passes))
    assert gathered - padding == 4 * passes.step.forward.total("params")


def test_ddp_stops_at_weights_that_nothing_uses():
    """Four weights of each of 12 blocks: torch's reducer names 48 (`tests/stack/test_ddp_gloo.py` found it)."""
    message = found("med_sam_adapter_b", "run.parallel=ddp", "run.gpus=2")["ddp-unused-weights"]
    assert message.startswith(
        "48 weights have no effect on the outputs, such as blocks.0.Depth_Adapter.D_fc1.weight."
    )
    assert found("sam_vit_b", "run.parallel=ddp", "run.gpus=2") == {}
