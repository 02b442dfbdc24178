"""A benchmark that runs over the dry device: its process starts once more, in the environment of the stub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from samattn_cli import load_device
from samattn_cli.device.dry.environment import environment

DEVICE = "a100_80"
_INSIDE = "SAMATTN_INSIDE"


def over_the_dry_device(module: str, main: Callable[..., None]) -> None:
    """Run a module's ``main`` with the arguments of the command line, and leave."""
    if _INSIDE not in os.environ:
        command = [sys.executable, "-W", "ignore", "-m", module, *sys.argv[1:]]
        inside = {**os.environ, **environment(load_device(DEVICE)), _INSIDE: "1"}
        sys.exit(subprocess.run(command, env=inside, check=False).returncode)
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # the end of a process over the dry device can abort while a backward thread lives
