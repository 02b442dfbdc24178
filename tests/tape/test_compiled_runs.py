"""Encoders of SAM on the dry device, eager and compiled (`dry/compiled.py`), and the tables of dry runs in tests/README.md."""

from __future__ import annotations

from typing import Any

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.replay import replay_forward
from tests.refresh import EVIDENCE
from tests.support.recorded import torch_of
from tests.tape.dry import compiled, whole_sam

RUNS = compiled.runs()
EAGER = [run for run in RUNS if not run["compiled"]]


def name_of(run: dict[str, Any]) -> str:
    return f"{run['preset']} {run['batch_size']}"


@pytest.mark.parametrize("run", EAGER, ids=name_of)
def test_the_eager_encoder_takes_what_samattn_derives(run) -> None:
    cuda = cuda_of(load_device(compiled.DEVICE))
    assert cuda is not None
    sets = ["run.dtype=bfloat16", f"run.batch_size={run['batch_size']}", torch_of(run)]
    config = load_config(run["preset"], sets)
    used = replay_forward(forward(config), cuda)
    assert (used.allocated, used.reserved) == (run["allocated_bytes"], run["reserved_bytes"])


def test_each_compiled_encoder_has_an_eager_one_and_takes_less() -> None:
    """Inductor runs softmax in place, and eager makes a second matrix of scores."""
    assert {run["torch"] for run in RUNS} == {"2.14.1+cu130"}
    assert {name_of(run) for run in EAGER} == {f"{preset} {batch}" for preset, batch in compiled.PUBLISHED}
    eager = {name_of(run): run["allocated_bytes"] for run in EAGER}
    taken = {name_of(run): run["allocated_bytes"] for run in RUNS if run["compiled"]}
    assert all(nbytes < eager[name] for name, nbytes in taken.items())
    assert round(taken["sam_vit_b 8"] / compiled.MIB, 1) == 4671.6


def test_an_older_torch_takes_more_for_a_compiled_encoder() -> None:
    """torch 2.2.2 does not run softmax in place; segment-anything-fast published 7,916 MiB for the whole of SAM."""
    older = {name_of(run): run["allocated_bytes"] for run in compiled.read(compiled.OLDER)}
    taken = {name_of(run): run["allocated_bytes"] for run in RUNS if run["compiled"]}
    assert all(older[name] > taken[name] for name in older.keys() & taken.keys())
    assert older["sam_vit_b 8"] / compiled.MIB == pytest.approx(7916, rel=0.005)


@pytest.mark.parametrize("table", [compiled, whole_sam], ids=["compiled", "whole_sam"])
def test_the_page_shows_the_rows_that_were_recorded(table) -> None:
    assert table.HEADER + "\n".join(table.rows()) + "\n\n" in EVIDENCE.read_text("utf-8")
