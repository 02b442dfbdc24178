"""The requests of a run, one by one: its steps, and the place of each."""

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.studies.on_device import cuda_of, replayed
from samattn_cli.studies.oom.places import run_of
from samattn_cli.studies.passes import Passes

SMALL = ("depth=1", "image_size=64", "run.mode=training")


def rounds(*settings: str) -> dict[int, int]:
    """The most that is needed in each training step."""
    cuda = cuda_of(load_device("a100_80", "DEVICE"))
    assert cuda is not None
    run = run_of(load_config("vit_b", (*SMALL, *settings)), cuda)
    most: dict[int, int] = {}
    for asked in run.asked(run.notes):
        most[asked.round] = max(most.get(asked.round, 0), asked.need_bytes)
    return most


def test_a_run_has_a_first_step_and_a_later_one():
    assert set(rounds()) == {0, 1, 2}


def test_under_ddp_a_run_has_the_step_after_its_buckets_have_settled():
    most = rounds("run.parallel=ddp")
    assert set(most) == {0, 1, 2, 3}
    cuda = cuda_of(load_device("a100_80", "DEVICE"))
    assert cuda is not None
    later = load_config("vit_b", (*SMALL, "run.parallel=ddp", "run.step=later"))
    assert most[3] == replayed(Passes(later).aimed(cuda.target), cuda).allocated
