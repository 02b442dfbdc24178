"""The choice of attention kernel of other versions of torch, kept in `sdpa_versions.json`, as `sdpa.py` keeps that of today's.

    python -m tests.tape.dry.sdpa_versions OLD/bin/python ...     # a minute for each, with CUDA builds of torch

Each argument is the Python of an environment with a CUDA build of torch and NumPy (torch 2.2.2: 2.5 GB). It runs on the dry
device, which is built with the CUDA headers of that environment. The letter "x" stands for a call that the version does not
take: torch 2.2 has no groups of heads (enable_gqa).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from samattn_cli.device.dry import build
from samattn_cli.device.dry.environment import TORCH
from samattn_cli.tape.sdpa_rules import UNBATCHED_SINCE
from tests.support.running import ROOT
from tests.tape.dry.sdpa import WORKER, digest
from tests.tape.dry.sdpa_cases import KEPT

PATH = Path(__file__).with_name("sdpa_versions.json")
CAPABILITIES = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))

REFUSED = """
def choice_or_none(call):
    try:
        return choice(call)
    except TypeError:
        return "x"
"""
OLD_WORKER = WORKER.replace("\nof_names", f"{REFUSED}\nof_names").replace(
    "choice(call) for", "choice_or_none(call) for"
)
OLD_WORKER = OLD_WORKER.replace("map(choice,", "map(choice_or_none,")
UNBATCHED = OLD_WORKER.replace("operand.dim() == 3 for", "False for")
"""For torch before `UNBATCHED_SINCE`, which does not give operands a batch."""
FIND = "import torch, nvidia; print(torch.__version__.partition('+')[0], *nvidia.__path__)"


def recorded(python: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """The version of torch, and its choices by compute capability."""
    found = subprocess.run([python, "-c", FIND], capture_output=True, text=True, check=True)
    version, folder = found.stdout.split()
    headers = next(Path(folder).glob("*/include/cuda_runtime_api.h")).parent
    with TemporaryDirectory() as made:
        built = Path(made) / build.LIBRARY
        build._compile(shutil.which("cc") or "cc", headers, built)
        for link in build.LINKS:
            (built.parent / link).symlink_to(built)
        worker = OLD_WORKER if tuple(_numbers(version)) >= UNBATCHED_SINCE else UNBATCHED
        return version, {
            ".".join(map(str, each)): _choices(python, built, each, worker) for each in CAPABILITIES
        }


def _choices(python: Path, library: Path, capability: tuple[int, int], worker: str) -> dict[str, str]:
    variables = {
        **TORCH,
        "LD_LIBRARY_PATH": str(library.parent),
        "LD_PRELOAD": str(library),
        "SAMATTN_DRY_CC": "{}.{}".format(*capability),
        "SAMATTN_DRY_BYTES": str(1 << 48),
        "PYTHONPATH": str(ROOT),
    }
    words = [python, "-W", "ignore", "-c", worker]
    done = subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python} on {capability}: {done.stderr}")
    *_, of_names, at_random = json.loads(done.stdout)
    return {"named": of_names, "random": at_random[:KEPT], "all": digest(at_random)}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def main() -> None:
    """Record these, and keep the others."""
    found = json.loads(PATH.read_text("utf-8")) | dict(recorded(Path(python)) for python in sys.argv[1:])
    lines = (
        f"{json.dumps(version)}: {json.dumps(found[version])}" for version in sorted(found, key=_numbers)
    )
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
