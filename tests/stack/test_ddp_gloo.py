"""DDP's buckets on the Tape against torch's own reducer, in two processes that exchange gradients through gloo."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.stack.encoder import freeze, image_for
from samattn_cli.stack.implementation import build_implementation
from samattn_cli.stack.step import backward, forward
from samattn_cli.tape import ddp
from samattn_cli.tape.training import training_step

RANKS = 2
STEPS = 2  # buckets are rebuilt before the second
WAIT_S = 300

Fired = tuple[int, list[tuple[int, ...]], int]
"""The bytes of a bucket, the shapes of its weights in order, and how many gradients were complete when it was sent."""


def run_rank(rank: int, config: EncoderConfig, folder: Path) -> None:
    """Run training steps as one of the ranks, and say which buckets were sent."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Grad strides do not match")  # of a class token
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    model = build_implementation(config, "cpu")
    freeze(model, config)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=config.run.gradient_as_bucket_view)
    complete: list[int] = [0]
    fired: list[list[Fired]] = []

    def count(_: torch.Tensor) -> None:
        complete[0] += 1

    for weight in model.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(count)

    def reduce(_, bucket):  # torch refuses annotations that are text
        shapes = [tuple(weight.shape) for weight in bucket.parameters()]
        fired[-1].append((bucket.buffer().nbytes, shapes, complete[0]))
        sent = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return sent.then(lambda future: future.value()[0])

    wrapped.register_comm_hook(None, reduce)
    image = image_for(config, "cpu").normal_()
    for _ in range(STEPS):
        fired.append([])
        complete[0] = 0
        model.zero_grad()
        backward(forward(wrapped, image))
    (folder / str(rank)).write_bytes(pickle.dumps(fired))
    dist.destroy_process_group()


def on_gloo(config: EncoderConfig, tmp_path: Path) -> list[list[Fired]]:
    """The buckets that each step sends; both ranks send the same."""
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork of a process in which torch has threads may wait for ever
    ranks = [context.Process(target=run_rank, args=(rank, config, tmp_path)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(WAIT_S)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    found = [pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in range(RANKS)]
    assert found[0] == found[1]
    return found[0]


def on_the_tape(config: EncoderConfig) -> list[Fired]:
    """The same of a step after the first."""
    step = training_step(config)
    shapes = [tuple(shape) for run in reversed(step.backward) for shape in run.completed]
    assert [4 * math.prod(shape) for shape in shapes] == list(step.completed)
    fired, done = [], 0
    for filled in ddp.filled(step.completed):
        within = shapes[done : done + len(filled)]
        done += len(filled)
        fired.append((sum(filled), within, done))
    assert tuple(nbytes for nbytes, _, _ in fired) == step.buckets
    return fired


WIDE = ["run.mode=training", "image_size=64"]


@pytest.mark.exhaustive  # two interpreters that import torch; `tests/tape/test_ddp.py` has the rules in the suite
@pytest.mark.parametrize(
    ("preset", "overrides", "buckets"),
    [
        ("vit_b", ["depth=3", "embed_dim=192", "num_heads=3"], 2),
        *(
            (preset, overrides, None)
            for preset, overrides in (
                ("vit_b", ["run.gradient_as_bucket_view=true"]),
                ("sam_vit_b", []),
                ("sam_vit_b", ["run.trains=neck,blocks.8-11"]),
                ("swin_t", ["image_size=224"]),
                ("sam2_hiera_t", []),
                ("vitdet_b_fpn", []),
                ("sam_vit_b_lora", []),
                ("swinv2_t", ["image_size=256"]),
                ("mae_b_pretrain", ["image_size=224"]),
            )
        ),
    ],
)
def test_the_reducer_sends_the_buckets_of_the_tape_when_the_tape_says(
    tmp_path, preset, overrides, buckets
) -> None:
    config = load_config(preset, [*WIDE, "run.parallel=ddp", *overrides])
    first, later = on_gloo(config, tmp_path)
    assert later == on_the_tape(config)
    assert buckets is None or len(later) == buckets
    ((nbytes, _, complete),) = first
    assert (nbytes, complete) == (sum(each for each, _, _ in later), later[-1][2])
