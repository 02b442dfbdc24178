"""Compiled encoders of SAM under an older torch, kept in `compiled_versions.json`, as `compiled.py` keeps those of today's.

    python -m tests.tape.dry.compiled_versions OLD/bin/python                  # a minute or more for each case
    python -m tests.tape.dry.compiled_versions OLD/bin/python sam_vit_b 8      # only this preset and batch size

The argument is the Python of an environment with a CUDA build of torch (torch 2.2.2: 2.5 GB). samattn itself does not run there:
segment-anything's encoder does, on the dry device, which is built with the CUDA headers of that environment. A case that is in
the file is not run again.
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
from tests.tape.dry.compiled import OLDER, PUBLISHED, read
from tests.tape.dry.sdpa_versions import FIND

LIBCUDA = "libcuda.so"
"""What Triton 2.2 looks for, without the version that its successors look for too."""

SIZES = {"sam_vit_b": (768, 12, 12, (2, 5, 8, 11)), "sam_vit_h": (1280, 32, 16, (7, 15, 23, 31))}
"""Width, blocks, heads, global blocks."""

WORKER = """
import functools, json, sys, types
import torch

folder, width, depth, heads, indexes, batch = json.loads(sys.argv[1])
package = types.ModuleType("segment_anything")  # its predictor needs torchvision, which the encoder does not
package.__path__ = [folder]
sys.modules["segment_anything"] = package
from segment_anything.modeling.image_encoder import ImageEncoderViT

torch.set_default_dtype(torch.bfloat16)
with torch.device("cuda"):
    norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    encoder = ImageEncoderViT(
        depth=depth, embed_dim=width, img_size=1024, mlp_ratio=4, norm_layer=norm, num_heads=heads, patch_size=16,
        qkv_bias=True, use_rel_pos=True, global_attn_indexes=indexes, window_size=14, out_chans=256,
    ).eval()
    image = torch.empty(batch, 3, 1024, 1024)
run = torch.compile(encoder)
for _ in range(3):  # the first call takes more, for the autotuner
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        run(image)
print(json.dumps([torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]))
"""


def recorded(python: str, preset: str, batch: int) -> dict[str, Any]:
    """A compiled encoder under the torch of another environment."""
    found = subprocess.run([python, "-c", FIND], capture_output=True, text=True, check=True)
    version, folder = found.stdout.split()
    headers = next(Path(folder).glob("*/include/cuda_runtime_api.h")).parent
    with TemporaryDirectory() as made:
        library = Path(made) / build.LIBRARY
        build._compile(shutil.which("cc") or "cc", headers, library)
        for link in (*build.LINKS, LIBCUDA):
            (library.parent / link).symlink_to(library)
        allocated, reserved = _peaks(python, library, preset, batch)
    return {
        "preset": preset,
        "batch_size": batch,
        "torch": version,
        "allocated_bytes": allocated,
        "reserved_bytes": reserved,
    }


def _peaks(python: str, library: Path, preset: str, batch: int) -> list[int]:
    variables = {
        **TORCH,
        "LD_LIBRARY_PATH": str(library.parent),
        "LD_PRELOAD": str(library),
        "SAMATTN_DRY_CC": "8.0",
        "SAMATTN_DRY_BYTES": str(80 << 30),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(library.parent / "inductor"),
        "TRITON_CACHE_DIR": str(library.parent / "triton"),
    }
    package = find_spec("segment_anything")
    assert package is not None
    asked = json.dumps([*package.submodule_search_locations, *SIZES[preset], batch])
    words = [python, "-W", "ignore", "-c", WORKER, asked]
    done = subprocess.run(words, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(python: str, preset: str = "", batch: str = "") -> None:
    """Run what is not in the file: all, or those of a preset and a batch size."""
    done = {(run["preset"], run["batch_size"]) for run in read(OLDER)}
    for name, size in PUBLISHED:
        if (name, size) not in done and preset in {"", name} and batch in {"", str(size)}:
            every = [*read(OLDER), recorded(python, name, size)]
            OLDER.write_text("[\n" + ",\n".join(map(json.dumps, every)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
