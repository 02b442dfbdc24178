"""What timm's SAM takes under an older torch, on the dry device, kept in `timm_versions.json`.

    python -m tests.tape.dry.timm_versions OLD/bin/python      # five minutes, with timm here

The argument is the Python of an environment with a CUDA build of torch (2.6 or later), of the same version of Python as the
one that runs this, whose other packages it uses. timm needs torchvision only for data, so a stand-in is enough. Torch before
2.14 runs SAM's attention as unfused products; `tests/tape/test_unfused_runs.py` compares.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from samattn_cli.device.dry import build
from samattn_cli.device.dry.environment import TORCH
from tests.support.running import ROOT
from tests.tape.dry.sdpa_versions import FIND

PATH = Path(__file__).with_name("timm_versions.json")
CASES = (
    "run.dtype=float32",
    "run.dtype=bfloat16",
    "image_size=512 run.dtype=float16 run.batch_size=2",
    "image_size=512 run.mode=training",
    "image_size=512 run.mode=training run.checkpointing=true",
    "image_size=512 run.mode=training run.dtype=bfloat16",
    "image_size=448 run.mode=training run.autocast=bfloat16 run.batch_size=2",
)
"""Changes of `sam_vit_b`, which runs by timm's code under sdpa."""
TIMM = ("implementation=timm", "run.attention=sdpa")

WORKER = """
import importlib.abc, importlib.machinery, json, sys, unittest.mock
import torch

class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        is_it = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_it else None

    def create_module(self, spec):
        module = unittest.mock.MagicMock(__path__=[], __spec__=spec, __version__="0.21.0")
        module.__name__ = spec.name
        return module

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, StandIn())
sys.path.append(sys.argv[1])
from samattn_cli import load_config
from samattn_cli.stack.measure import How, measure

torch.Tensor.erfinv_ = lambda x: x  # its kernel is compiled at the first use
seen = measure(load_config("sam_vit_b", sys.argv[2:]), "cuda:0", How(timed=False))
print(json.dumps([torch.__version__, seen.peak_allocated_bytes, seen.peak_reserved_bytes]))
"""


def measured(python: str, library: Path, packages: Path, case: str) -> dict[str, Any]:
    """The peaks of a case, in a process of its own."""
    variables = {
        **TORCH,
        "LD_LIBRARY_PATH": str(library.parent),
        "LD_PRELOAD": str(library),
        "SAMATTN_DRY_CC": "8.0",
        "SAMATTN_DRY_BYTES": str(80 << 30),
        "PYTHONPATH": str(ROOT),
    }
    words = [python, "-W", "ignore", "-c", WORKER, str(packages), *TIMM, *case.split()]
    done = subprocess.run(words, env=os.environ | variables, check=True, stdout=subprocess.PIPE, text=True)
    torch, allocated, reserved = json.loads(done.stdout.splitlines()[-1])
    return {"torch": torch, "case": case, "allocated_bytes": allocated, "reserved_bytes": reserved}


def main(python: str) -> None:
    """Build the dry device with the CUDA headers of an environment, and run timm's SAM there."""
    found = subprocess.run([python, "-c", FIND], capture_output=True, text=True, check=True)
    headers = next(Path(found.stdout.split()[1]).glob("*/include/cuda_runtime_api.h")).parent
    timm = find_spec("timm")
    if timm is None or timm.origin is None:
        sys.exit("timm is not installed: pip install timm")
    with TemporaryDirectory() as made:
        library = Path(made) / build.LIBRARY
        build._compile(shutil.which("cc") or "cc", headers, library)
        for link in build.LINKS:
            (library.parent / link).symlink_to(library)
        runs = [measured(python, library, Path(timm.origin).parent.parent, case) for case in CASES]
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, runs)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
