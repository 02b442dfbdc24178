"""What holds for every test.

torch runs on one core each, as pytest-xdist already gives each core a worker. No example of Hypothesis fails because the
machine is slow.
"""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow machine")
