"""What holds for every test: torch on one core each, as pytest-xdist already gives each core a worker."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
