"""What holds for every test.

torch runs on one core each, as pytest-xdist already gives each core a worker. No example of Hypothesis fails because the
machine is slow. A shell starts what it runs in the background with interrupts ignored, which the processes of tests would
inherit: here they are not ignored.
"""

import os
import signal

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
