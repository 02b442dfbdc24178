"""ZeroRedundancyOptimizer on the Tape: which weights a rank updates, and the memory of the state of those alone."""

from __future__ import annotations

import random

import pytest
import torch
import torch.distributed as dist

from samattn_cli import load_config
from samattn_cli.encoder.model import RunConfig
from samattn_cli.stack.parallel import shared_out
from samattn_cli.tape.training import training_step
from samattn_cli.tape.zero import shares

ZERO1 = ["run.mode=training", "run.parallel=zero1"]


def test_the_largest_weight_is_shared_out_first_and_each_goes_to_the_rank_with_least():
    """9 to rank 0, 7 to rank 1, 6 to rank 2; 5 to rank 2 (6), 4 to rank 1 (7), 4 to rank 0 (9)."""
    assert shares([4, 9, 5, 4, 7, 6], 3) == ((1, 3), (4, 0), (5, 2))
    assert shares([2, 2, 2], 2) == ((0, 2), (1,))  # of equal ones, the first
    assert shares([3], 3) == ((0,), (), ())


@pytest.mark.parametrize("ranks", [2, 5])
def test_the_shares_are_those_of_torch(ranks):
    chance = random.Random(ranks)
    sizes = [chance.choice([1, 2, 3, 8, 8, 64, chance.randrange(1, 99)]) for _ in range(60)]
    weights = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    run = RunConfig(mode="training", parallel="zero1", gpus=ranks)
    try:
        optimizer = shared_out(weights, torch.optim.AdamW, run)
        theirs = [
            [id(weight) for weight in group[0]["params"]] for group in optimizer._partition_parameters()
        ]
    finally:
        dist.destroy_process_group()
    assert theirs == [[id(weights[place]) for place in share] for share in shares(sizes, ranks)]


def test_a_rank_has_the_state_of_its_share_and_the_gradients_of_all():
    """Two numbers of AdamW's state for each that rank 0 updates, an eighth of all or a little more."""
    whole, share = (training_step(load_config("sam_vit_b", [*ZERO1, f"run.gpus={gpus}"])) for gpus in (1, 8))
    assert whole.optimizer_bytes == 2 * whole.gradients_bytes
    assert share.gradients_bytes == whole.gradients_bytes
    assert share.buckets == whole.buckets
    assert share.optimizer_bytes == 2 * share.updated_bytes
    assert 1 <= 8 * share.updated_bytes / whole.gradients_bytes < 1.1
    assert whole.peak_bytes - share.peak_bytes == whole.optimizer_bytes - share.optimizer_bytes
    assert share.optimizer_op.bytes_read == 12 * share.updated_bytes
