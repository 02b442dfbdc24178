"""What holds for every test.

torch runs on one core each, as pytest-xdist already gives each core a worker. No example of Hypothesis fails because the
machine is slow. A shell starts what it runs in the background with interrupts ignored, which the processes of tests would
inherit: here they are not ignored. Assertions of helpers say what differs, as those of tests do. The garbage collector
runs seldom, and looks at each object once: what is alive then (modules, the tests, what samattn remembers) mostly lives
until the end. Going through it again and again was a sixth of the suite's CPU time.
"""

import gc
import os
import signal

import numpy as np  # noqa: F401 - before Hypothesis looks for its generator
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import none

pytest.register_assert_rewrite("tests.families.contract", "tests.support")

gc.set_threshold(1_000_000)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["SAMATTN_CACHE"] = ""  # no verdict of an earlier run is used
settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    _let_hypothesis_register_generators()
    gc.freeze()
    gc.callbacks.append(_freeze_survivors)


@settings(max_examples=1, database=None)
@given(none())
def _let_hypothesis_register_generators(_: None) -> None:
    """It asks the garbage collector who refers to Python's and numpy's random numbers. Nobody does once they are frozen."""


def _freeze_survivors(phase: str, _: dict[str, int]) -> None:
    """Called as a collection starts and stops: the next one skips what survived this one."""
    if phase == "stop":
        gc.freeze()
