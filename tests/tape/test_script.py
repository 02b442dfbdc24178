"""A run as a list of requests: what the allocator makes of it is what the run makes of the allocator, step by step."""

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.studies.on_device import cuda_of, on
from samattn_cli.studies.passes import Passes
from samattn_cli.tape.allocator import OutOfMemoryError
from samattn_cli.tape.plays import play
from samattn_cli.tape.replay import replay_forward, replay_step
from samattn_cli.tape.script import has_script, script_of
from tests.support.sampling import sampled

DEVICE = load_device("rtx_4090")
CUDA = cuda_of(DEVICE)
SHARES = (2.0, 1.0, 0.99, 0.97, 0.9, 0.6, 0.3, 0.05)
SMALL = ["depth=2", "global_attn_indexes=[1]", "image_size=288", "embed_dim=96", "num_heads=3"]
CASES = [
    ("sam_vit_b", SMALL, "inference", "eager"),
    ("sam_vit_b", [*SMALL, "run.step=first"], "training", "fused"),
    (
        "sam_vit_b",
        [*SMALL, "run.accumulate=2", "run.autocast=float16", "run.grad_scaler=true"],
        "training",
        "eager",
    ),
    ("swin_t", ["run.batch_size=3"], "training", "sdpa"),
    ("sam2_hiera_t", ["image_size=512", "run.autocast=bfloat16"], "inference", "sdpa"),
    ("sam2_hiera_t", ["image_size=512", "run.zero_grad=after_step"], "training", "sdpa"),
    ("hiera_t", ["run.checkpointing=blocks", "run.optimizer=sgd"], "training", "sdpa"),
    ("qwen2_5_vl_vision", [], "inference", "sdpa"),
]


def in_memory(passes, capacity):
    """The same by `replay.py`: the most reserved and allocated, and where it stopped."""
    try:
        used = (
            replay_step(passes.step, CUDA, capacity)
            if passes.trains
            else replay_forward(passes.forward, CUDA, capacity)
        )
    except OutOfMemoryError as error:
        return error.at
    return used.reserved, used.allocated


@pytest.mark.parametrize(("preset", "changes", "mode", "kernel"), sampled(CASES, 3))
def test_a_script_takes_what_the_run_takes(preset, changes, mode, kernel):
    config = load_config(preset, [*changes, f"run.mode={mode}", f"run.attention={kernel}"])
    passes = on(Passes(config), DEVICE)
    run = passes.step if passes.trains else passes.forward
    assert has_script(config)
    script = script_of(run, CUDA)
    reserved, _ = in_memory(passes, None)
    outcomes = set()
    for capacity in (None, *(int(share * reserved) for share in SHARES)):
        played = play(script, capacity)
        found = played.stopped_at if played.stopped_at is not None else (played.reserved, played.allocated)
        assert found == in_memory(passes, capacity)
        outcomes.add(played.stopped_at is None)
    assert outcomes == {True, False}


def test_runs_with_other_settings_have_none():
    config = load_config("sam_vit_b", [*SMALL, "run.allocator=expandable_segments:True"])
    assert not has_script(config)
