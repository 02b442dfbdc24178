"""What an inference forward of timm's SAM allocates under another torch, on the dry device.

    python -m tests.tape.dry.timm_versions OLD/bin/python      # half a minute, with timm here

The argument is the Python of an environment with a CUDA build of torch (2.6 or later). timm is that of the environment that
runs this; it needs torchvision only for data, so a stand-in is enough. The figures are in tests/README.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from samattn_cli.device.dry import build
from samattn_cli.device.dry.environment import TORCH
from tests.tape.dry.sdpa_versions import FIND

WORKER = """
import importlib.abc, importlib.machinery, sys, unittest.mock
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
import timm

torch.Tensor.erfinv_ = lambda x: x  # its kernel is compiled at the first use
for dtype in (torch.float32, torch.bfloat16):
    model = timm.create_model("samvit_base_patch16", num_classes=0).eval().to(dtype).cuda()
    image = torch.empty(1, 3, 1024, 1024, device="cuda", dtype=dtype)
    for _ in range(2):  # the first makes the workspace of cuBLAS
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.no_grad():
            model(image)
    mib = (torch.cuda.max_memory_allocated() - before) / 2**20
    print(f"torch {torch.__version__}, timm {timm.__version__}, {dtype}: {mib:,.1f} MiB")
"""


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
        variables = {
            **TORCH,
            "LD_LIBRARY_PATH": str(library.parent),
            "LD_PRELOAD": str(library),
            "SAMATTN_DRY_CC": "8.0",
            "SAMATTN_DRY_BYTES": str(80 << 30),
        }
        words = [python, "-W", "ignore", "-c", WORKER, str(Path(timm.origin).parent.parent)]
        subprocess.run(words, env=os.environ | variables, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
