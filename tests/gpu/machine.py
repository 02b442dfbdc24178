"""What a GPU takes for its context, and how fast it launches, copies and multiplies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch.cuda import memory as cuda
from torch.nn.attention import sdpa_kernel

from tests.gpu.inside import KERNELS


def context_job() -> Any:
    """What a process takes of the GPU's memory besides what the allocator reserves, after each of some first calls."""
    told = list[Any]()

    def note(word: str) -> None:
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        told.append([word, total - free - torch.cuda.memory_reserved(), torch.cuda.memory_reserved(), total])

    torch.cuda.init()
    note("start")
    one = torch.ones(1, device="cuda").add_(1)
    note("a kernel")
    a = torch.randn(1024, 1024, device="cuda")
    note("random numbers")
    (a @ a).sum().item()
    note("a product, float32")
    (a.bfloat16() @ a.bfloat16()).sum().item()
    F.linear(a.bfloat16(), a.bfloat16(), a[0].bfloat16())
    note("a product, bfloat16, with bias")
    image = torch.randn(1, 3, 224, 224, device="cuda", requires_grad=True)
    weight = torch.randn(768, 3, 16, 16, device="cuda", requires_grad=True)
    out = F.conv2d(image, weight, stride=16)
    note("a convolution")
    out.sum().backward()
    note("its backward")
    q = torch.randn(1, 12, 1024, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    for name in ("flash", "efficient", "cudnn", "math"):
        with suppress(RuntimeError), sdpa_kernel(KERNELS[name]):
            F.scaled_dot_product_attention(q, q, q).sum().backward()
        note(f"attention by {name}")
    F.layer_norm(q, (64,)).sum().backward()
    F.gelu(q).sum().backward()
    F.softmax(q, -1).sum().backward()
    note("norm, GELU, softmax")
    torch.optim.AdamW([q], foreach=True).step()
    note("AdamW")
    del one
    return told


def _ms(call: Callable[[], Any], times: int = 20) -> list[float]:
    for _ in range(3):
        call()
    found = []
    for _ in range(times):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return sorted(found)


def rates_job() -> Any:
    """Launches, copies and products: what the GPU reaches, in us, bytes per s and FLOP/s (medians of 20)."""
    told: dict[str, Any] = {}
    one = torch.ones(1, device="cuda")
    row, weight, bias = (torch.randn(*shape, device="cuda") for shape in ((1, 768), (768, 768), (768,)))
    one.add_(1)
    torch.cuda.synchronize()
    for name, call in {
        "add_ of one number": lambda: one.add_(1),
        "layer_norm of 768 numbers": lambda: F.layer_norm(row, (768,)),
        "linear of 1 x 768": lambda: F.linear(row, weight, bias),
    }.items():
        call()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(2000):
            call()
        issued = time.perf_counter() - begun
        torch.cuda.synchronize()
        told[f"us per call: {name}"] = [issued / 2000 * 1e6, (time.perf_counter() - begun) / 2000 * 1e6]
    for mib in (1, 16, 64, 256, 1024, 4096):
        x = torch.empty(mib << 20, dtype=torch.uint8, device="cuda")
        y = torch.empty_like(x)
        told[f"bytes/s of a copy of {mib} MiB, read and written"] = (
            2 * x.numel() / (_ms(lambda x=x, y=y: y.copy_(x))[10] / 1e3)
        )
        del x, y
    x = torch.randn(1 << 28, device="cuda")
    told["bytes/s of gelu of 1 GiB float32"] = 8 * x.numel() / (_ms(lambda: F.gelu(x))[10] / 1e3)
    told["bytes/s of add of 1 GiB float32"] = 12 * x.numel() / (_ms(lambda: x + x)[10] / 1e3)
    y = x.view(-1, 1024)
    told["bytes/s of softmax of 1 GiB float32, rows of 1024"] = (
        8 * x.numel() / (_ms(lambda: F.softmax(y, -1))[10] / 1e3)
    )
    told["bytes/s of layer_norm of 1 GiB float32, rows of 1024"] = (
        8 * x.numel() / (_ms(lambda: F.layer_norm(y, (1024,)))[10] / 1e3)
    )
    x = y = None
    cuda.empty_cache()
    for dtype in ("float32", "bfloat16", "float16", "tf32"):
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        of = {"dtype": torch.float32 if dtype == "tf32" else getattr(torch, dtype), "device": "cuda"}
        for rows, into, out in (
            (4096, 1280, 5120),
            (4900, 1280, 3840),
            (8192, 8192, 8192),
            (4096, 768, 3072),
            (32768, 768, 3072),
        ):
            x, w, b = torch.randn(rows, into, **of), torch.randn(out, into, **of), torch.randn(out, **of)
            told[f"FLOP/s of linear {rows} x {into} x {out}, {dtype}"] = (
                2 * rows * into * out / (_ms(lambda x=x, w=w, b=b: F.linear(x, w, b))[10] / 1e3)
            )
    for kernel, dtype in (
        ("flash", "bfloat16"),
        ("cudnn", "bfloat16"),
        ("efficient", "bfloat16"),
        ("efficient", "float32"),
        ("math", "float32"),
    ):
        for B, h, N, d in (
            (1, 16, 4096, 80),
            (25, 16, 196, 80),
            (1, 12, 4096, 64),
            (64, 12, 197, 64),
            (1, 16, 16384, 64),
        ):
            if kernel == "math" and N > 4096:
                continue
            q, k, v = (
                torch.randn(B, h, N, d, dtype=getattr(torch, dtype), device="cuda", requires_grad=True)
                for _ in range(3)
            )
            with suppress(RuntimeError), sdpa_kernel(KERNELS[kernel]):
                there = _ms(lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v))[10]
                out = F.scaled_dot_product_attention(q, k, v)
                back = _ms(
                    lambda out=out, q=q, k=k, v=v: torch.autograd.grad(
                        out, (q, k, v), torch.ones_like(out), retain_graph=True
                    )
                )[10]
                told[
                    f"FLOP/s of attention ({B}, {h}, {N}, {d}) by {kernel}, {dtype}, forward and backward"
                ] = [4 * B * h * N * N * d / (there / 1e3), 10 * B * h * N * N * d / (back / 1e3)]
    return told


def machine_job() -> Any:
    """What the machine says of itself."""
    properties = torch.cuda.get_device_properties(0)
    said = {name: str(getattr(properties, name)) for name in dir(properties) if not name.startswith("_")}
    smi = subprocess.run(
        "nvidia-smi -q -d MEMORY,CLOCK,POWER,ECC", shell=True, capture_output=True, text=True, check=False
    )
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "properties": said,
        "nvidia-smi": smi.stdout,
        "flags": {
            "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
            "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn.benchmark": torch.backends.cudnn.benchmark,
            "cudnn sdp": torch.backends.cuda.cudnn_sdp_enabled(),
            "blas": str(torch.backends.cuda.preferred_blas_library()),
        },
    }
