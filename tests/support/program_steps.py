"""Steps of small programs, each written twice, on the Tape and in torch; all take (B, H, W, C) to the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from samattn_cli.tape.kernels import attention
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.tensor import Tensor

B, H, W, C = 2, 3, 4, 8
N = H * W


@dataclass(frozen=True)
class Step:
    """The same operation on the Tape, as submodule `name`, and in torch; `weights` by their names."""

    on_tape: Callable[[Tape, str, Tensor], Tensor]
    module: Callable[[], nn.Module]
    weights: tuple[str, ...] = ()


class Do(nn.Module):
    """A step in torch: `run` on the module and its input; `weights` by name and shape."""

    def __init__(self, run, **weights: tuple[int, ...]) -> None:
        super().__init__()
        self.run = run
        for name, shape in weights.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def conv_on_tape(kernel: int, *, bias: bool):
    """On channels first, with the grid kept by padding."""

    def run(tape: Tape, name: str, x: Tensor) -> Tensor:
        y = tape.contiguous("channels_first", x.permute(0, 3, 1, 2))
        out = tape.conv2d(name, y, C, kernel, padding=kernel // 2, bias=bias)
        tape.free(y, keep=x)
        return out.permute(0, 2, 3, 1)

    return run


class Conv(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)


def rows_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    rows = tape.reshape(f"{name}.rows", x, B * N, C)
    out = tape.linear(name, rows, C)
    tape.free(rows, keep=x)
    return out.view(B, H, W, C)


class Rows(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.reshape(B * N, C)).view(B, H, W, C)


def named(tape: Tape, name: str, operation: Callable[[], Tensor]) -> Tensor:
    with tape.module(name):
        return operation()


def attend_on_tape(tape: Tape, _: str, x: Tensor) -> Tensor:
    y = tape.reshape("rows", x, B, N, C)
    scores = tape.bmm("scores", y, y.permute(0, 2, 1))
    weights = tape.softmax("softmax", scores)
    tape.free(scores)
    out = tape.bmm("values", weights, y)
    tape.free(weights)
    tape.free(y, keep=x)
    return out.view(B, H, W, C)


def attend(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(B, N, C)
    scores = torch.bmm(y, y.transpose(1, 2))
    weights = scores.softmax(-1)
    del scores
    return torch.bmm(weights, y).view(B, H, W, C)


def kernel_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    """One weight for queries, one for the mask: any of queries and keys, and mask may be without a gradient."""
    with tape.module(name):
        y = tape.reshape("rows", x, B, 1, N, C)
        q = tape.add_weight("q", y, tape.parameter("q", C), (C,))
        zeros = tape.constant("zeros", q, B, 1, N, N)
        mask = tape.add_weight("mask", zeros, tape.parameter("mask", N), (N,))
        tape.free(zeros)
        out = attention(tape, "sdpa", q, y, y, mask)
        tape.free(q, mask)
        tape.free(y, keep=x)
    return tape.reshape("merged", out, B, H, W, C)


def kernel(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(B, 1, N, C)
    q = y + module.q
    mask = q.new_zeros(B, 1, N, N) + module.mask
    out = nn.functional.scaled_dot_product_attention(q, y, y, mask, scale=1.0)
    del q, mask, y
    return out.reshape(B, H, W, C)


def table_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    with tape.module(name):
        y = tape.reshape("rows", x, B, N, C)
        index = tape.integers("index", B, C)
        R = tape.gather("table", tape.parameter("table", 5, C), (index,), B, C, C)
        tape.free(index)
        out = tape.bmm("product", y, R.permute(0, 2, 1))
        tape.free(R)
        tape.free(y, keep=x)
    return out.view(B, H, W, C)


def table(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(B, N, C)
    R = module.table[torch.empty((B, C), dtype=torch.int64, device="meta")]
    return torch.bmm(y, R.transpose(1, 2)).view(B, H, W, C)


def normalise_on_tape(tape: Tape, _: str, x: Tensor) -> Tensor:
    mean = tape.mean("mean", x, dim=1)
    centred = tape.sub("centre", x, mean)
    tape.free(mean)
    squared = tape.square("square", centred)
    variance = tape.mean("variance", squared, dim=1)
    tape.free(squared)
    std = tape.sqrt("sqrt", variance)
    tape.free(variance)
    out = tape.div("divide", centred, std)
    tape.free(centred, std)
    return out


def normalise(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    del mean
    squared = centred.pow(2)
    variance = squared.mean(1, keepdim=True)
    del squared
    std = torch.sqrt(variance)
    del variance
    return centred / std


def residual_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    y = tape.linear(name, x, C)
    out = tape.add("add", x, y)
    tape.free(y)
    return out


class Residual(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def norm_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    """A layer norm before a linear layer, which hands it a contiguous gradient: of others meta makes what CUDA does not."""
    with tape.module(name):
        y = tape.layer_norm("0", x)
        out = tape.linear("1", y, C)
        tape.free(y)
    return out


def cut_on_tape(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Contiguous matrices with gaps between: a linear layer copies them to rows if its weight trains."""
    return tape.pad(name, x, B, H, W + 1, C).narrow(x.shape)


def cut(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.pad(x, (0, 0, 0, 1))[:, :, :W]


WITH_BIAS = ("weight", "bias")

STEPS = {
    "linear": Step(lambda tape, name, x: tape.linear(name, x, C), lambda: nn.Linear(C, C), WITH_BIAS),
    "linear without bias": Step(
        lambda tape, name, x: tape.linear(name, x, C, bias=False),
        lambda: nn.Linear(C, C, bias=False),
        ("weight",),
    ),
    "linear on rows": Step(rows_on_tape, lambda: Rows(C, C), WITH_BIAS),
    "residual": Step(residual_on_tape, lambda: Residual(C, C), WITH_BIAS),
    "1x1 convolution": Step(conv_on_tape(1, bias=True), lambda: Conv(C, C, 1), WITH_BIAS),
    "3x3 convolution": Step(
        conv_on_tape(3, bias=False), lambda: Conv(C, C, 3, padding=1, bias=False), ("weight",)
    ),
    "layer norm": Step(
        norm_on_tape,
        lambda: nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C)),
        ("0.weight", "0.bias", "1.weight", "1.bias"),
    ),
    "add a weight": Step(
        lambda tape, name, x: named(
            tape, name, lambda: tape.add_weight("", x, tape.parameter("pos", 1, H, W, C))
        ),
        lambda: Do(lambda module, x: x + module.pos, pos=(1, H, W, C)),
        ("pos",),
    ),
    "scale by a weight": Step(
        lambda tape, name, x: named(
            tape, name, lambda: tape.scale_by_weight("", x, tape.parameter("gamma", C), (C,))
        ),
        lambda: Do(lambda module, x: module.gamma * x, gamma=(C,)),
        ("gamma",),
    ),
    "rows of a table": Step(table_on_tape, lambda: Do(table, table=(5, C)), ("table",)),
    "fused attention": Step(kernel_on_tape, lambda: Do(kernel, q=(C,), mask=(N,)), ("q", "mask")),
    "attention": Step(attend_on_tape, lambda: Do(attend)),
    "normalise": Step(normalise_on_tape, lambda: Do(normalise)),
    "gelu": Step(lambda tape, name, x: tape.gelu(name, x), nn.GELU),
    "cut": Step(cut_on_tape, lambda: Do(cut)),
    "transposed": Step(
        lambda tape, name, x: tape.contiguous(name, x.permute(3, 1, 2, 0)).permute(3, 1, 2, 0),
        lambda: Do(lambda _, x: x.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)),
    ),
}
