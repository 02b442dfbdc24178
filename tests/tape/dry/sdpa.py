"""torch's own choice of attention kernel on the dry device, kept in `sdpa.json`.

    python -m tests.tape.dry.sdpa     # a minute, with torch's CUDA build

The calls are those of `sdpa_cases.py`. For each compute capability the file has a letter for each call that has a name, one
for each of the first random calls, and a hash of the letters of all random calls. Under "launches" it has, for flash and
memory-efficient attention of large batches, whether forward and backward run: CUDA's limits of a grid are those of the stub.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from samattn_cli import load_device
from samattn_cli.device.dry.environment import environment
from tests.tape.dry.sdpa_cases import CAPABILITIES, KEPT

PATH = Path(__file__).with_name("sdpa.json")
LETTERS = {"math": "m", "flash": "f", "efficient": "e", "cudnn": "c"}

WORKER = """
import json, os, sys
import torch
from tests.tape.dry.sdpa_cases import named, randomly

GIVES_A_BATCH = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
memory = torch.empty(1 << 44, dtype=torch.uint8, device="cuda").untyped_storage()

def tensor(operand):
    dtype = getattr(torch, operand.dtype)
    made = torch.empty(0, dtype=dtype, device="cuda").set_(memory, operand.offset, operand.shape, operand.stride)
    return made.requires_grad_(operand.needs_grad)

def choice(call):
    torch.use_deterministic_algorithms(call.is_deterministic)
    operands, mask = [tensor(operand) for operand in call.operands], call.mask and tensor(call.mask)
    if GIVES_A_BATCH and all(operand.dim() == 3 for operand in operands):  # as the whole function does; it keeps gradients
        operands = [operand.unsqueeze(0) for operand in operands]
        mask = mask.unsqueeze(0) if call.mask and mask.dim() == 3 else mask
    rest = {"enable_gqa": call.enable_gqa} if call.enable_gqa else {}
    return "mfec"[torch._fused_sdp_choice(*operands, mask, call.dropout, call.is_causal, **rest)]

of_names = "".join(choice(call) for _, call in named())
at_random = "".join(map(choice, randomly()))
print(json.dumps([torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), of_names, at_random]), flush=True)
os._exit(0)
"""


LAUNCHER = """
import json, os
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tests.tape.dry.sdpa import LAUNCHES

KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}

def tensor(*shape):
    return torch.empty(shape, dtype=torch.half, device="cuda", requires_grad=True)

def outcome(kernel, batch, heads, has_mask):
    operands = [tensor(batch, heads, 16, 32) for _ in range(3)]
    mask = tensor(1, heads, 16, 16) if has_mask else None
    try:
        with sdpa_kernel(KERNELS[kernel]):
            out = F.scaled_dot_product_attention(*operands, mask)
    except RuntimeError:
        return "no forward"
    try:
        out.backward(torch.empty_like(out))
    except RuntimeError:
        return "no backward"
    return "runs"

print(json.dumps([[*case, outcome(*case)] for case in LAUNCHES]), flush=True)
os._exit(0)
"""

LAUNCHES = (
    *(
        (kernel, *sizes, False)
        for kernel in ("flash", "efficient")
        for sizes in (
            (65_535, 1),
            (65_536, 1),
            (1, 65_535),
            (1, 65_536),
            (65_535, 2),
            (65_536, 2),
            (2, 65_536),
            (40_000, 2),
            (140_000, 2),
        )
    ),
    *(("efficient", *sizes, True) for sizes in ((65_535, 2), (65_536, 2), (140_000, 2))),
)
"""Kernel, batch, heads, and whether there is a mask that needs a gradient; 16 queries and keys, a head size of 32."""


def launched() -> list[list[Any]]:
    """Those, with what came of each on the dry device."""
    return json.loads(_ran(LAUNCHER, (8, 0)))


def chosen(capability: tuple[int, int]) -> list[str]:
    """torch, its CUDA, its cuDNN, and the letters of the named and of the random calls, on the dry device."""
    return json.loads(_ran(WORKER, capability))


def _ran(worker: str, capability: tuple[int, int]) -> str:
    """What a program prints on the dry device."""
    major, minor = capability
    device = {
        **environment(load_device("a100_80")),
        "SAMATTN_DRY_CC": f"{major}.{minor}",
        "SAMATTN_DRY_BYTES": str(1 << 48),
        "SAMATTN_DRY_CONTEXT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", worker],
        env=os.environ | device,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"compute capability {major}.{minor}: {done.stderr}")
    return done.stdout


def digest(letters: str) -> str:
    """A hash of the letters of random calls."""
    return sha256(letters.encode()).hexdigest()


def main() -> None:
    """Record all."""
    lines = []
    for capability in CAPABILITIES:
        torch, cuda, cudnn, of_names, at_random = chosen(capability)
        key = ".".join(map(str, capability))
        found = {"named": of_names, "random": at_random[:KEPT], "all": digest(at_random)}
        lines.append(f"{json.dumps(key)}: {json.dumps(found)}")
    made_by = json.dumps({"torch": torch, "cuda": cuda, "cudnn": cudnn})
    lines.append(f'"launches": {json.dumps(launched())}')
    PATH.write_text("{\n" + ",\n".join([f'"made_by": {made_by}', *lines]) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
