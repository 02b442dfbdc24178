"""What operators allocate inside on a GPU: the workspaces of cuDNN and cuBLAS, and attention by cuDNN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.cuda import memory as cuda
from torch.nn.attention import SDPBackend, sdpa_kernel

Made = list[list[Any]]
KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def allocations(run: Callable[[], Any]) -> Made:
    """What a call allocates and frees, in order: [word, bytes]. It has run twice before."""
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    cuda._record_memory_history("all", context=None)
    kept = run()
    torch.cuda.synchronize()
    trace = cuda._snapshot()["device_traces"][torch.cuda.current_device()]
    cuda._record_memory_history(enabled=None)
    del kept
    words = {"alloc": "+", "free_completed": "-"}
    return [[words[each["action"]], each["size"]] for each in trace if each["action"] in words]


def both_ways(forward: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """The allocations of a forward, and of its backward."""
    there = allocations(forward)
    out = forward()
    gradient = torch.full_like(out, 1e-3)
    back = allocations(lambda: torch.autograd.grad(out, _leaves(out), gradient, retain_graph=True))
    return {"forward": there, "backward": back}


def _leaves(out: torch.Tensor) -> list[torch.Tensor]:
    found, seen, stack = list[torch.Tensor](), set(), [out.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        stack += [each for each, _ in node.next_functions]
    return found


ATTENTION = (
    # batch, heads, queries, keys, head size
    (1, 16, 4096, 4096, 80),
    (25, 16, 196, 196, 80),
    (1, 12, 4096, 4096, 64),
    (25, 12, 196, 196, 64),
    (8, 12, 197, 197, 64),
    (64, 12, 197, 197, 64),
    (1, 12, 1024, 1024, 64),
    (2, 16, 1024, 1024, 72),
    (512, 3, 49, 49, 32),
    (128, 6, 49, 49, 32),
    (64, 2, 64, 16, 96),
    (1, 8, 1024, 4096, 128),
    (1, 4, 256, 256, 144),
    (1, 2, 300, 300, 256),
    (1, 16, 5184, 5184, 64),
)
MASKED = ((25, 12, 196, 196, 64), (512, 3, 49, 49, 32), (1, 12, 1024, 1024, 64), (1, 16, 1024, 1024, 80))


def attention_jobs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each kernel on each shape, in each type: what it allocates. Queries, keys and values are (B, h, N, d), dense or packed."""
    for kernel in KERNELS:
        for dtype in ("bfloat16", "float16", "float32"):
            if dtype == "float32" and kernel in {"cudnn", "flash"}:
                continue

            def job(kernel: str = kernel, dtype: str = dtype) -> Any:
                if kernel == "math" and dtype != "bfloat16":
                    return []
                return list(_attended(kernel, dtype))

            yield f"attention {kernel} {dtype}", job


def _attended(kernel: str, dtype: str) -> Iterator[dict[str, Any]]:
    for shape, kind in [
        *((s, "dense") for s in ATTENTION),
        *((s, "packed") for s in ATTENTION[:6]),
        *((s, "mask") for s in MASKED),
        *((s, "masked grad") for s in MASKED),
    ]:
        for grad in (True, False):
            told: dict[str, Any] = {"shape": shape, "kind": kind, "grad": grad}
            try:
                with sdpa_kernel(KERNELS[kernel]):
                    made = _attention(shape, kind, dtype, grad)
                    told |= both_ways(made) if grad else {"forward": allocations(made)}
            except RuntimeError as error:
                told["error"] = str(error).partition("\n")[0][:200]
            cuda.empty_cache()
            yield told


def _attention(shape: tuple[int, ...], kind: str, dtype: str, grad: bool) -> Callable[[], torch.Tensor]:
    B, h, N, M, d = shape
    of = {"dtype": getattr(torch, dtype), "device": "cuda"}
    if kind == "packed":
        whole = torch.randn(B, N, 3, h, d, **of, requires_grad=grad)
        q, k, v = whole.permute(2, 0, 3, 1, 4).unbind(0)
    else:
        q, k, v = (torch.randn(B, h, n, d, **of, requires_grad=grad) for n in (N, M, M))
    mask = (
        torch.randn(B, h, N, M, **of, requires_grad=grad and kind == "masked grad")
        if "mask" in kind
        else None
    )
    return lambda: F.scaled_dot_product_attention(q, k, v, mask)


CONVOLUTIONS = (
    # input, weight, stride, padding, groups, transposed
    ((1, 3, 1024, 1024), (768, 3, 16, 16), 16, 0, 1, False),
    ((1, 3, 1024, 1024), (1280, 3, 16, 16), 16, 0, 1, False),
    ((8, 3, 1024, 1024), (768, 3, 16, 16), 16, 0, 1, False),
    ((1, 3, 512, 512), (768, 3, 16, 16), 16, 0, 1, False),
    ((1, 3, 224, 224), (768, 3, 16, 16), 16, 0, 1, False),
    ((64, 3, 224, 224), (768, 3, 16, 16), 16, 0, 1, False),
    ((1, 3, 224, 224), (96, 3, 4, 4), 4, 0, 1, False),
    ((32, 3, 224, 224), (96, 3, 4, 4), 4, 0, 1, False),
    ((1, 3, 1024, 1024), (96, 3, 7, 7), 4, 3, 1, False),
    ((1, 3, 1008, 1008), (1024, 3, 14, 14), 14, 0, 1, False),
    ((1, 768, 64, 64), (256, 768, 1, 1), 1, 0, 1, False),
    ((1, 1280, 64, 64), (256, 1280, 1, 1), 1, 0, 1, False),
    ((1, 256, 64, 64), (256, 256, 3, 3), 1, 1, 1, False),
    ((8, 256, 64, 64), (256, 256, 3, 3), 1, 1, 1, False),
    ((1, 256, 14, 14), (256, 256, 3, 3), 1, 1, 1, False),
    ((1, 768, 64, 64), (768, 384, 2, 2), 2, 0, 1, True),
    ((1, 384, 128, 128), (384, 192, 2, 2), 2, 0, 1, True),
    ((1, 96, 56, 56), (96, 1, 3, 3), 1, 1, 96, False),
    ((1, 180, 64, 64), (180, 180, 3, 3), 1, 1, 1, False),
    ((1, 256, 72, 72), (256, 256, 3, 3), 1, 1, 1, False),
)


def convolution_jobs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each convolution, in each type: what it allocates. With the settings of torch, so that float32 runs in TF32."""
    for dtype in ("float32", "bfloat16", "float16"):
        for layout in ("contiguous_format", "channels_last"):
            yield (
                f"convolution {dtype} {layout}",
                lambda d=dtype, m=layout: [_convolved(case, d, m) for case in CONVOLUTIONS],
            )
    yield (
        "convolution float32 without TF32",
        lambda: [_convolved(case, "float32", "contiguous_format", tf32=False) for case in CONVOLUTIONS],
    )


def _convolved(case: Any, dtype: str, layout: str, *, tf32: bool = True) -> dict[str, Any]:
    shape, kernel, stride, padding, groups, transposed = case
    torch.backends.cudnn.allow_tf32 = tf32
    of = {"dtype": getattr(torch, dtype), "device": "cuda"}
    form = getattr(torch, layout)
    image = torch.randn(shape, **of).contiguous(memory_format=form).requires_grad_()
    weight = torch.randn(kernel, **of).contiguous(memory_format=form).requires_grad_()
    bias = torch.randn(kernel[1] if transposed else kernel[0], **of, requires_grad=True)
    how = F.conv_transpose2d if transposed else F.conv2d
    told: dict[str, Any] = {"case": case}
    told |= both_ways(lambda: how(image, weight, bias, stride=stride, padding=padding, groups=groups))
    with torch.no_grad():
        told["inference"] = allocations(
            lambda: how(image, weight, bias, stride=stride, padding=padding, groups=groups)
        )
    cuda.empty_cache()
    return told


def linear_job() -> Any:
    """What products allocate: the workspaces of cuBLAS and cuBLASLt, in each type and way of calling."""
    told = list[Any]()
    for dtype in ("float32", "bfloat16", "float16"):
        of = {"dtype": getattr(torch, dtype), "device": "cuda"}
        x = torch.randn(4096, 768, **of, requires_grad=True)
        w, b = torch.randn(3072, 768, **of, requires_grad=True), torch.randn(3072, **of, requires_grad=True)
        q = torch.randn(12, 1024, 64, **of, requires_grad=True)
        calls = {
            "linear": lambda x=x, w=w, b=b: F.linear(x, w, b),
            "linear without bias": lambda x=x, w=w: F.linear(x, w),
            "bmm": lambda q=q: q @ q.mT,
            "linear 3-D": lambda x=x, w=w, b=b: F.linear(x.view(4, 1024, 768), w, b),
        }
        for name, call in calls.items():
            torch._C._cuda_clearCublasWorkspaces()
            before = cuda.memory_allocated()
            out = call()
            first = cuda.memory_allocated() - before - out.untyped_storage().nbytes()
            out.sum().backward()
            freed = cuda.memory_allocated()
            torch.cuda.synchronize()
            torch._C._cuda_clearCublasWorkspaces()
            told.append(
                {
                    "dtype": dtype,
                    "call": name,
                    "workspace": first,
                    "both": freed - cuda.memory_allocated(),
                    **both_ways(call),
                }
            )
    return told
