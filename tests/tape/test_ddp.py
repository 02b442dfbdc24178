"""DDP's buckets and flat copies, by the rules of reducer.cpp, and their place in a training step."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.tape.allocator import MIB
from samattn_cli.tape.ddp import buckets, flat_copies, in_flight
from samattn_cli.tape.training import training_step

TRAINING = ["run.mode=training", "run.parallel=ddp"]


def test_a_bucket_is_full_from_its_cap_on_and_gradients_are_not_rounded():
    assert buckets([1, 2, 3], first_cap=3, cap=4) == (3, 3)
    assert buckets([5, 1, 3, 1, 7], first_cap=3, cap=4) == (5, 4, 8)
    assert buckets([MIB - 4, 4, 25 * MIB - 4, 8, 12]) == (MIB, 25 * MIB + 4, 12)
    assert buckets([]) == ()


def test_flat_copies_have_one_type_each_in_the_order_of_their_first_tensors():
    tensors = [(8, "int64"), (4, ""), (6, ""), (8, "int64"), (5, "")]
    assert flat_copies(tensors) == (16, 15)
    assert flat_copies(tensors, cap=10) == (16, 10, 0)  # one that is sent alone is not copied


def test_two_copies_exist_at_once():
    live, most = 0, []
    for _, is_made in in_flight((1, 2, 3, 4)):
        live += 1 if is_made else -1
        most.append(live)
    assert (max(most), live) == (2, 0)


def test_buckets_of_sam_vit_b():
    """Figures of torch 2.14.1 in a dry run, world size 8 (shared/cuda_stub): 342.07 MiB in one bucket, then in 14."""
    first = training_step(load_config("sam_vit_b", [*TRAINING, "run.step=first"]))
    later = training_step(load_config("sam_vit_b", TRAINING))
    assert (len(first.buckets), len(later.buckets)) == (1, 14)
    assert sum(first.buckets) == sum(later.buckets) == 4 * 89_670_912
    assert later.buckets_bytes / MIB == pytest.approx(342.07, abs=0.005)
    without = training_step(load_config("sam_vit_b", ["run.mode=training"]))
    assert later.peak_bytes - without.peak_bytes == later.buckets_bytes


def test_gradients_that_are_views_take_no_memory_of_their_own():
    made = {
        view: training_step(load_config("sam_vit_b", [*TRAINING, f"run.gradient_as_bucket_view={view}"]))
        for view in ("false", "true")
    }
    optimizer = {view: step.peaks["optimizer", "step"] for view, step in made.items()}
    assert optimizer["false"] - optimizer["true"] == made["true"].gradients_bytes
    assert made["true"].held_bytes == 0
