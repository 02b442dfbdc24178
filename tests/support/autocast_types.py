"""The type of the result of each operation under autocast: torch's own for CUDA, and ours on meta.

Fake tensors must not require gradients here: a build without CUDA aborts on them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch

from samattn_cli.stack.autocast import AutocastOnCuda

FULL = torch.float32

index = torch.ops.aten.index.Tensor  # as which table[index] is run

Make = Callable[..., Tensor]
Operations = dict[str, Callable[[Make], Tensor]]

CHOOSE_KERNELS = ("conv", "scaled_dot_product_attention")
"""Words in the names of operations that torch chooses a kernel for."""


def that_choose_kernels(low: torch.dtype) -> Operations:
    return {name: run for name, run in operations(low).items() if _chooses(name)}


def other_operations(low: torch.dtype) -> Operations:
    return {name: run for name, run in operations(low).items() if not _chooses(name)}


def _chooses(name: str) -> bool:
    return any(word in name for word in CHOOSE_KERNELS)


def weight(make: Make, *shape: int) -> Tensor:
    return make(*shape, dtype=FULL)


def operations(low: torch.dtype) -> Operations:
    """By name, each as the encoders call it, with operands of the types that they meet and of the others."""
    found: Operations = {}
    types = {"full": FULL, "low": low}
    for name, dtype in types.items():
        x = lambda make, *shape, dtype=dtype: make(*shape, dtype=dtype)  # noqa: E731
        found |= {
            f"linear of {name}": lambda make, x=x: F.linear(
                x(make, 2, 3, 4), weight(make, 5, 4), weight(make, 5)
            ),
            f"linear without bias of {name}": lambda make, x=x: F.linear(x(make, 3, 4), weight(make, 5, 4)),
            f"conv2d of {name}": lambda make, x=x: F.conv2d(
                x(make, 1, 2, 4, 4), weight(make, 3, 2, 2, 2), weight(make, 3)
            ),
            f"layer_norm of {name}": lambda make, x=x: F.layer_norm(
                x(make, 3, 4), (4,), weight(make, 4), weight(make, 4)
            ),
            f"softmax of {name}": lambda make, x=x: x(make, 3, 4).softmax(dim=-1),
            f"F.softmax of {name}": lambda make, x=x: F.softmax(x(make, 3, 4), dim=-1),
            f"F.softmax in float32 of {name}": lambda make, x=x: F.softmax(x(make, 3, 4), dim=-1, dtype=FULL),
            f"pow of {name}": lambda make, x=x: x(make, 3, 4).pow(2),
            f"** of {name}": lambda make, x=x: x(make, 3, 4) ** 2,
            f"power of a number to {name}": lambda make, x=x: 10000 ** x(make, 3, 4),
            f"gelu of {name}": lambda make, x=x: F.gelu(x(make, 3, 4)),
            f"mean of {name}": lambda make, x=x: x(make, 3, 4).mean(1, keepdim=True),
            f"sqrt of {name}": lambda make, x=x: torch.sqrt(x(make, 3, 4)),
            f"sum with a number of {name}": lambda make, x=x: x(make, 3, 4) + 1e-6,
            f"product with a number of {name}": lambda make, x=x: x(make, 3, 4) * 0.5,
            f"rows of a table of {name}": lambda make, x=x: index(
                x(make, 5, 4), [make(3, dtype=torch.int64)]
            ),
            f"pad of {name}": lambda make, x=x: F.pad(x(make, 3, 4), (0, 1)),
            f"conv_transpose2d of {name}": lambda make, x=x: F.conv_transpose2d(
                x(make, 1, 2, 4, 4), weight(make, 2, 3, 2, 2), weight(make, 3), stride=2
            ),
            f"max_pool2d of {name}": lambda make, x=x: F.max_pool2d(x(make, 1, 2, 4, 4), 2),
            f"normalize of {name}": lambda make, x=x: F.normalize(x(make, 3, 4), dim=-1),
            # nearest and bilinear are on autocast's list too, but fake tensors take them apart before it is asked
            f"bicubic of {name}": lambda make, x=x: F.interpolate(
                x(make, 1, 2, 4, 4), size=6, mode="bicubic"
            ),
            **{
                f"{operation.__name__} of {name}": lambda make, x=x, operation=operation: operation(
                    x(make, 3, 4)
                )
                for operation in (
                    torch.rsqrt,
                    torch.exp,
                    torch.sigmoid,
                    torch.neg,
                    torch.relu,
                    F.silu,
                    torch.cos,
                )
            },
            f"clamp of {name}": lambda make, x=x: x(make, 3, 4).clamp(max=1.0),
            f"roll of {name}": lambda make, x=x: x(make, 3, 4).roll(1, 0),
            f"masked_fill of {name}": lambda make, x=x: x(make, 3, 4).masked_fill(
                make(3, 4, dtype=torch.bool), 0.0
            ),
            f"gather of {name}": lambda make, x=x: x(make, 3, 4).gather(0, make(2, 4, dtype=torch.int64)),
        }
        for other, second in types.items():
            y = lambda make, *shape, dtype=second: make(*shape, dtype=dtype)  # noqa: E731
            both = f"of {name} and {other}"
            found |= {
                f"@ {both}": lambda make, x=x, y=y: x(make, 2, 3, 4) @ y(make, 2, 4, 3),
                f"matmul {both}": lambda make, x=x, y=y: torch.matmul(x(make, 2, 3, 4), y(make, 2, 4, 3)),
                f"bmm {both}": lambda make, x=x, y=y: torch.bmm(x(make, 2, 3, 4), y(make, 2, 4, 3)),
                f"einsum {both}": lambda make, x=x, y=y: torch.einsum(
                    "bhwc,hkc->bhwk", x(make, 2, 3, 4, 5), y(make, 3, 6, 5)
                ),
                f"sum {both}": lambda make, x=x, y=y: x(make, 3, 4) + y(make, 3, 4),
                f"difference {both}": lambda make, x=x, y=y: x(make, 3, 4) - y(make, 3, 4),
                f"product {both}": lambda make, x=x, y=y: x(make, 3, 4) * y(make, 3, 4),
                f"quotient {both}": lambda make, x=x, y=y: x(make, 3, 4) / y(make, 3, 4),
                f"cat {both}": lambda make, x=x, y=y: torch.cat([x(make, 3, 4), y(make, 3, 4)], dim=-1),
            }
        found[f"scaled_dot_product_attention of {name}"] = lambda make, x=x: F.scaled_dot_product_attention(
            *(x(make, 1, 2, 3, 8) for _ in "qkv"), scale=1.0
        )
        found[f"mask of scaled_dot_product_attention of {name}"] = lambda make, x=x: (
            F.scaled_dot_product_attention(
                *(x(make, 1, 2, 3, 8) for _ in "qkv"), attn_mask=weight(make, 3, 3)
            )
        )
    return found


def types_by_torch(low: torch.dtype, runs: Operations) -> dict[str, str]:
    """On tensors that say they are on a CUDA device, under its own autocast."""
    result, before = {}, torch.get_autocast_dtype("cuda")
    with FakeTensorMode() as mode, torch.no_grad():
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", low)
        try:
            for name, run in runs.items():
                result[name] = attempt(run, lambda *shape, dtype: fake(mode, *shape, dtype=dtype))
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.set_autocast_dtype("cuda", before)
    return result


def fake(mode: FakeTensorMode, *shape: int, dtype: torch.dtype) -> Tensor:
    with no_dispatch():  # torch 2.6.0 makes no fake tensor of one that is fake already
        meta = torch.empty(shape, dtype=dtype, device="meta")
    return FakeTensor(mode, meta, torch.device("cuda:0"))


def types_by_us(low: torch.dtype, runs: Operations) -> dict[str, str]:
    """On meta, under our mode."""
    result = {}
    for name, run in runs.items():
        with torch.no_grad(), AutocastOnCuda(low):
            result[name] = attempt(run, lambda *shape, dtype: torch.empty(shape, dtype=dtype, device="meta"))
    return result


def attempt(run: Callable[[Make], Tensor], make: Make) -> str:
    try:
        return str(run(make).dtype)
    except Exception as error:  # noqa: BLE001 - what cannot be run is told from every type
        return f"{type(error).__name__}: {error}"
