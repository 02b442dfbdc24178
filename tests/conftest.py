"""What holds for every test.

torch runs on one core each, as pytest-xdist already gives each core a worker. No example of Hypothesis fails because the
machine is slow. A shell starts what it runs in the background with interrupts ignored, which the processes of tests would
inherit: here they are not ignored. Assertions of helpers say what differs, as those of tests do. The garbage collector
runs as seldom as it does in the command line, and skips what lives until the end (modules and the tests themselves): going
through them again and again was a quarter of the suite's CPU time.
"""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.families.contract", "tests.support")

gc.set_threshold(100_000)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["SAMATTN_CACHE"] = ""  # no verdict of an earlier run is used
settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.freeze()
