"""timm's SAM under torch 2.6.0, whose attention runs as unfused products: what its allocator counted over the dry device."""

import json

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.tape.allocator import MIB
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.replay import replay_forward, replay_step
from samattn_cli.tape.training import training_step
from tests.support.recorded import torch_of
from tests.tape.dry.timm_versions import CASES, PATH, TIMM

RUNS = json.loads(PATH.read_text("utf-8"))


def test_each_case_is_recorded():
    assert [run["case"] for run in RUNS] == list(CASES)
    assert {run["torch"] for run in RUNS} == {"2.6.0+cu124"}


@pytest.mark.parametrize("run", RUNS, ids=[run["case"] for run in RUNS])
def test_unfused_products_take_what_torch_counted(run):
    config = load_config("sam_vit_b", [*TIMM, torch_of(run), *run["case"].split()])
    cuda = cuda_of(load_device("a100_80"))
    assert cuda is not None
    trains = config.run.mode == "training"
    used = replay_step(training_step(config), cuda) if trains else replay_forward(forward(config), cuda)
    assert used.allocated == run["allocated_bytes"]
    assert used.reserved == pytest.approx(run["reserved_bytes"], rel=0.005, abs=2 * MIB)
