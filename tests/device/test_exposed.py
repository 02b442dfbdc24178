"""How much of the time of collectives no compute hides: timelines worked out by hand."""

from __future__ import annotations

import pytest

from samattn_cli.device.exposed import exposure
from samattn_cli.device.model import Interconnect
from samattn_cli.tape.communication import Collective, Sent

SEGMENTS = ("stem", "blocks.0", "blocks.1", "neck")
COMPUTE = {(name, phase): ms for name in SEGMENTS for phase, ms in (("forward", 10.0), ("backward", 20.0))}
LINK = Interconnect(pcie_bytes_per_s=1e9)  # a broadcast of 1 MB takes a millisecond


def taking(ms, kind, phase, segment="", ranks=2):
    """A collective that takes so many ms: without its latency (8.4 us, and 5.7 for a step), what is sent at 1 GB/s."""
    steps = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "broadcast": 1}[kind]
    share = {"all_reduce": 1, "all_gather": 0.5, "reduce_scatter": 0.5, "broadcast": 1}[kind]
    return Collective(kind, round((ms - (8.4 + steps * 5.7) / 1e3) * 1e6 / share), ranks, phase, segment)


def exposed(*collectives, micro_batches=1, after=()):
    found = exposure(Sent(collectives, collectives, after, micro_batches), SEGMENTS, COMPUTE, LINK)
    return pytest.approx(found.ms, abs=1e-3), pytest.approx(found.exposed_ms, abs=1e-3)


def test_nothing_sent_takes_no_time():
    assert exposed() == (0, 0)


def test_an_all_reduce_runs_while_the_backward_goes_on():
    """After the neck's backward 60 ms of compute are left: 50 ms are hidden, of 70 ms the last 10 are not."""
    assert exposed(taking(50, "all_reduce", "backward", "neck")) == (50, 0)
    assert exposed(taking(70, "all_reduce", "backward", "neck")) == (70, 10)


def test_the_last_bucket_is_exposed_and_buckets_run_one_after_another():
    """The first begins at 20 of 80 ms and ends at 90; the last begins at 90, when compute has ended at 80, and ends at 95."""
    buckets = taking(70, "all_reduce", "backward", "neck"), taking(5, "all_reduce", "backward", "stem")
    assert exposed(*buckets) == (75, 15)


def test_broadcasts_are_waited_for():
    after = (taking(4, "broadcast", "step"),)
    assert exposed(taking(3, "broadcast", "forward"), micro_batches=2, after=after) == (10, 10)


def test_each_micro_batch_waits_anew():
    assert exposed(taking(70, "all_reduce", "backward", "neck"), micro_batches=3) == (210, 30)


def test_a_block_is_gathered_while_the_one_before_it_runs():
    """The root's 5 ms are waited for. Block 0's begin at 5 and end at 30, where compute is at 15: 15 more. Block 1's begin
    with block 0 at 30 and end at 42, where compute is at 40: 2 more."""
    gathered = [
        taking(5, "all_gather", "forward"),
        taking(25, "all_gather", "forward", "blocks.0"),
        taking(12, "all_gather", "forward", "blocks.1"),
    ]
    assert exposed(*gathered) == (42, 22)


def test_in_the_backward_gathers_and_reductions_share_the_link():
    """Block 1's weights are there at 8 of the neck's 20. Block 0's begin at 20, when block 1's backward does, and are there
    at 45, where compute is at 40: 5. Block 1's gradients are sent from 45 on, until 85, and block 0's from then until 95;
    compute, at 45, has 40 left, so that 10 more are exposed, and 3 for the root's."""
    sent = [
        taking(8, "all_gather", "backward", "blocks.1"),
        taking(25, "all_gather", "backward", "blocks.0"),
        taking(40, "reduce_scatter", "backward", "blocks.1"),
        taking(10, "reduce_scatter", "backward", "blocks.0"),
        taking(3, "reduce_scatter", "backward"),
    ]
    assert exposed(*sent) == (86, 18)


def test_an_unknown_bandwidth_gives_no_time():
    sent = (taking(8, "all_reduce", "backward", "stem", ranks=16),)
    assert exposure(Sent(sent, sent), SEGMENTS, COMPUTE, LINK) is None
