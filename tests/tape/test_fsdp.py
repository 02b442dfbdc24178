"""FSDP2: what a rank holds, next to what torch's own allocator counted over the dry device (`dry/fsdp.py`), byte for byte."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.tape.allocator import MIB
from samattn_cli.tape.fsdp import Group, Sharding, Weight, shard_of
from samattn_cli.tape.inside import Cuda
from samattn_cli.tape.replay import Usage, replay_step
from samattn_cli.tape.requests import GATHERED
from samattn_cli.tape.sharded import ROOT
from samattn_cli.tape.timeline import timeline
from samattn_cli.tape.training import TrainingStep, training_step
from tests.support.recorded import torch_of
from tests.tape.dry.fsdp import CASES, DEVICE, EACH_PATH, PATH, config_of

RUNS: dict[str, dict[str, Any]] = {run["case"]: run for run in json.loads(PATH.read_text("utf-8"))}
OVER_8 = ["run.mode=training", "run.parallel=fsdp2", "run.gpus=8"]
BLOCK_OF_VIT_B = 12 * 768**2 + 13 * 768
"""Numbers in the weights of a block: qkv, proj and the MLP, with biases, and two norms."""


def played(case: str) -> tuple[TrainingStep, Usage]:
    """With the release of torch that was recorded."""
    step = training_step(config_of(f"{case} {torch_of(RUNS[case])}"))
    cuda = cuda_of(load_device(DEVICE))
    assert cuda is not None
    return step, replay_step(step, cuda)


def assert_equals_torch(case: str) -> None:
    step, used = played(case)
    run = RUNS[case]
    assert (used.allocated, used.reserved) == (run["allocated_bytes"], run["reserved_bytes"])
    ours = {" ".join(section): peak for section, peak in used.sections.items()}
    assert {layer: ours[layer] for layer in run["layers"]} == run["layers"]
    assert sum(vars(used.kinds).values()) == used.allocated
    assert used.kinds.weights + used.kinds.buffers == step.weights_bytes
    assert_live_bytes_are_within_what_is_allocated(step, used)


def assert_live_bytes_are_within_what_is_allocated(step: TrainingStep, used: Usage) -> None:
    """All but workspaces, what operators take inside, and rests of blocks that are not split off."""
    for section, live in step.peaks.items():
        if section in used.sections:
            assert live <= used.sections[section]
    known = used.kinds.workspaces + used.kinds.unsplit
    assert used.allocated - known <= step.peak_bytes <= used.allocated


@pytest.mark.parametrize("case", EACH_PATH)
def test_a_rank_takes_what_torch_counted_as_a_whole_and_in_each_layer(case):
    assert_equals_torch(case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", [case for case in CASES if case not in EACH_PATH])
def test_a_rank_takes_what_torch_counted_in_other_runs(case):
    assert_equals_torch(case)


def test_the_recordings_are_those_of_the_cases_and_of_the_torch_that_is_named():
    assert tuple(RUNS) == CASES
    assert {run["torch"] for run in RUNS.values()} == {"2.14.1+cu130"}


@pytest.mark.parametrize(
    ("sets", "item_bytes"),
    [
        ((), 4),
        (("run.param_dtype=bfloat16",), 4),
        (("run.param_dtype=bfloat16", "run.torch=2.14"), 2),
        (("run.param_dtype=bfloat16", "run.reduce_dtype=bfloat16"), 2),
    ],
)
def test_gradients_are_reduced_in_the_type_of_the_shards_since_torch_2_15(sets, item_bytes):
    group = training_step(load_config("vit_b", [*OVER_8, "depth=1", *sets])).groups["blocks.0"]
    assert group.reduced_bytes == BLOCK_OF_VIT_B * item_bytes


def test_what_a_rank_of_sam_vit_b_holds_at_the_peak():
    """Figures of torch's FSDPMemTracker on a fake group of 8 ranks (issue 18), in MiB: the kinds that FSDP2 adds."""
    step, used = played("sam_vit_b run.parallel=fsdp2 run.gpus=8")
    kinds = used.kinds
    assert kinds.weights / MIB == pytest.approx(53.3, abs=0.05)  # sharded parameters
    assert kinds.gathered / MIB == pytest.approx(128.4, abs=0.05)  # unsharded parameters
    assert kinds.communication / MIB == pytest.approx(27.1, abs=0.06)  # all-gather
    assert kinds.optimizer / MIB == pytest.approx(106.6, abs=0.05)
    output_gradient = (
        256 * 64 * 64 * 4 / MIB
    )  # the tracker's script sums the output, whose gradient is expanded
    assert step.peak_bytes / MIB - output_gradient == pytest.approx(7_987.8, abs=0.5)


def test_shards_are_cut_along_the_first_dimension_and_padded():
    assert [shard_of((10, 3), gpus) for gpus in (1, 2, 3, 4, 16)] == [30, 15, 12, 9, 3]
    group = Group(
        (Weight("w", (10, 3)), Weight("b", (10,), trains=False)), Sharding(4, 2, 4, 2, 4, True, False, True)
    )
    assert group.shards == (9, 3)
    assert group.gathered_bytes == (4 * 9 * 2, 4 * 3 * 2)
    assert group.buffer_bytes == 96
    assert group.kept_bytes == (36, 12)  # each of two ranks keeps a half
    assert group.reduced_bytes == 4 * 9 * 4  # of the one that trains
    assert group.last_gradient_bytes == 30 * 2


def test_the_tables_of_the_copies_of_a_block_of_vit_b():
    """Dry, on an A100 (108 x 2048 threads): bytes of the tables for 2, 8 and 64 ranks."""
    seen = {2: (18_888, 55_984), 8: (7_368, 14_480), 64: (1_320, 2_384)}
    for gpus, (out, back) in seen.items():
        config = load_config("vit_b", [*OVER_8, f"run.gpus={gpus}"])
        block = training_step(config).groups["blocks.0"]
        assert (block.copy_out_table_bytes(gpus, Cuda()), block.copy_in_table_bytes) == (out, back)


def test_groups_are_blocks_and_the_root_in_which_own_weights_come_last():
    groups = training_step(load_config("sam_vit_b", OVER_8)).groups
    assert [*groups] == [ROOT, *(f"blocks.{number}" for number in range(12))]
    assert [weight.name for weight in groups[ROOT].weights][:2] == [
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
    ]
    assert groups[ROOT].weights[-1].name == "pos_embed"
    vit = training_step(load_config("vit_b", OVER_8)).groups
    assert sum(math.prod(weight.shape) for weight in vit["blocks.3"].weights) == BLOCK_OF_VIT_B


def test_world_64_takes_more_than_world_8_where_a_weight_has_a_first_dimension_of_1():
    """SAM's position embedding is 12 MiB and (1, 64, 64, 768): rank 0 holds it whole, and what is gathered has 64 times as much."""
    peaks = {gpus: training_step(load_config("sam_vit_b", [*OVER_8, f"run.gpus={gpus}"])) for gpus in (8, 64)}
    more = (peaks[64].peak_bytes - peaks[8].peak_bytes) / MIB
    shards = (peaks[8].weights_bytes - peaks[64].weights_bytes) * 3 / MIB  # with the optimizer's state
    assert more == pytest.approx((64 - 8) * 12 - shards, abs=50)


def test_zero2_and_zero3_are_forms_of_fsdp2_and_offloaded_shards_take_nothing():
    def step(*sets: str) -> TrainingStep:
        return training_step(load_config("vit_b", [*OVER_8, *sets]))

    sharded, kept = step(), step("run.reshard_after_forward=false")
    assert step("run.parallel=zero3").peaks == sharded.peaks
    assert step("run.parallel=zero2").peaks == kept.peaks
    blocks = 12 * BLOCK_OF_VIT_B * 4
    assert kept.peak_bytes - sharded.peak_bytes == pytest.approx(blocks * 10 / 12, rel=0.11)
    offloaded = step("run.cpu_offload=true")
    assert (offloaded.weights_bytes, offloaded.gradients_bytes, offloaded.optimizer_bytes) == (0, 0, 0)


def test_a_timeline_has_the_requests_of_a_rank():
    """The most that is allocated at once is that of the replay, and what is gathered is among the requests."""
    case = EACH_PATH[0]
    step, used = played(case)
    cuda = cuda_of(load_device(DEVICE))
    assert cuda is not None
    noted = timeline(step, cuda)
    most = max(live + size for _, size, _, live, *_ in noted.notes)
    assert most == pytest.approx(used.allocated, abs=MIB)
    assert GATHERED in {kind for _, _, kind, *_ in noted.notes}
