"""Calls of scaled_dot_product_attention: named ones, and random ones of a seed. Neither torch nor a device is needed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

from samattn_cli.tape.sdpa_call import Call, Operand

CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))
SEED, RANDOM = 15, 10_000
KEPT = 1_500
"""Of the random calls, the first ones are recorded call by call, and all of them as one hash."""

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}
Named = tuple[str, Call]
Strides = tuple[int, ...]


def dense(shape: tuple[int, ...]) -> Strides:
    """The strides of a contiguous tensor."""
    return tuple(math.prod(max(size, 1) for size in shape[dim + 1 :]) for dim in range(len(shape)))


def t(*shape: int, dt: str, g: bool = False) -> Operand:
    return Operand(shape, dense(shape), dt, g)


def qkv(*shape: int, dt: str, g: bool = False) -> tuple[Operand, Operand, Operand]:
    return (t(*shape, dt=dt, g=g),) * 3


def named() -> Iterator[Named]:
    """The cases of ../shared/cuda_stub/sdpa.py, in its order."""
    for name, dt in DTYPES.items():
        yield from _shapes(name, dt)
        yield from _sizes(name, dt)
        yield from _masks(name, dt)
        yield from _others(name, dt)
    half, single = qkv(1, 8, 256, 64, dt="float16"), qkv(1, 8, 256, 64, dt="float32")
    yield "fp16 q, fp32 k v", Call(half[0], *single[1:])
    for name, dt in (("fp16", "float16"), ("fp32", "float32")):
        operands = qkv(1, 8, 256, 64, dt=dt, g=True)
        yield f"deterministic algorithms, {name} requires_grad", Call(*operands, is_deterministic=True)


def _shapes(name: str, dt: str) -> Iterator[Named]:
    for shape in ((1, 16, 4096, 64), (16, 4096, 64)):
        written = f"{len(shape)}-D ({','.join(map(str, shape))}) {name}"
        yield written, Call(*qkv(*shape, dt=dt))
        yield f"{written} requires_grad", Call(*qkv(*shape, dt=dt, g=True))
    for d in (16, 32, 40, 60, 63, 64, 72, 80, 96, 112, 128, 160, 192, 224, 256, 264, 512):
        yield f"(1,8,1024,{d}) {name}", Call(*qkv(1, 8, 1024, d, dt=dt))
        yield f"(1,8,1024,{d}) {name} requires_grad", Call(*qkv(1, 8, 1024, d, dt=dt, g=True))


def _sizes(name: str, dt: str) -> Iterator[Named]:
    large = ((65535, 1, 49), (65536, 1, 49), (1, 65535, 49), (1, 65536, 49), (65536, 4, 49), (65536, 1, 4))
    for B, h, N in (*large, (131072, 1, 4), (1, 131072, 4)):
        written = f"batch {B} heads {h} tokens {N} {name}"
        yield written, Call(*qkv(B, h, N, 32, dt=dt))
        yield f"{written} requires_grad", Call(*qkv(B, h, N, 32, dt=dt, g=True))
        mask = Operand((B, h, N, N), (0, *dense((h, N, N))), dt)
        yield f"{written} mask (1,H,S,S)", Call(*qkv(B, h, N, 32, dt=dt), mask)
    yield f"3-D batch*heads 65536 tokens 49 {name}", Call(*qkv(65536, 49, 32, dt=dt))


def _masks(name: str, dt: str) -> Iterator[Named]:
    for S in (49, 64, 196, 200):
        padded = -(-S // 16) * 16
        masks = {
            "(B,H,S,S)": t(4, 12, S, S, dt=dt),
            "(1,1,S,S)": t(1, 1, S, S, dt=dt),
            "(S,S)": t(S, S, dt=dt),
            "(1,H,S,S)": t(1, 12, S, S, dt=dt),
            "bool (S,S)": t(S, S, dt="bool"),
            "(B,H,1,S)": t(4, 12, 1, S, dt=dt),
            "requires_grad (B,H,S,S)": t(4, 12, S, S, dt=dt, g=True),
            "view of a padded buffer": Operand((4, 12, S, S), dense((4, 12, S, padded)), dt),
            "last dim strided": Operand((4, 12, S, S), dense((4, 12, S, S, 2))[:-1], dt),
            "another dtype": t(4, 12, S, S, dt="float32" if dt != "float32" else "float16"),
        }
        for kind, mask in masks.items():
            yield f"(4,12,{S},64) {name} mask {kind}", Call(*qkv(4, 12, S, 64, dt=dt), mask)
    operands = qkv(48, 196, 64, dt=dt)
    yield f"3-D (48,196,64) {name} mask (48,196,196)", Call(*operands, t(48, 196, 196, dt=dt))


def _others(name: str, dt: str) -> Iterator[Named]:
    q = t(1, 8, 256, 64, dt=dt)

    def keys(*shape: int) -> tuple[Operand, Operand, Operand]:
        return q, t(*shape, dt=dt), t(*shape, dt=dt)

    yield f"causal {name}", Call(q, q, q, is_causal=True)
    yield f"causal, other kv length {name}", Call(*keys(1, 8, 128, 64), is_causal=True)
    yield f"cross, kv length 77 {name}", Call(*keys(1, 8, 77, 64))
    yield f"one query (1,8,1,64) kv 4096 {name}", Call(t(1, 8, 1, 64, dt=dt), *keys(1, 8, 4096, 64)[1:])
    yield f"dropout 0.1 {name}", Call(q, q, q, dropout=0.1)
    yield f"v head dim 128, q k 64 {name}", Call(q, q, t(1, 8, 256, 128, dt=dt))
    yield f"gqa 8/2 {name}", Call(*keys(1, 2, 256, 64), enable_gqa=True)
    yield f"heads differ, no gqa (8 / 1, broadcast) {name}", Call(*keys(1, 1, 256, 64))
    yield f"batch broadcast (4 / 1) {name}", Call(t(4, 8, 256, 64, dt=dt), q, q)
    turned = Operand((1, 8, 256, 64), (8 * 64 * 256, 64 * 256, 1, 256), dt)
    yield f"q transposed, last stride != 1 {name}", Call(turned, q, q)
    yield f"qkv views of one linear's output {name}", Call(*_packed(4, 12, 196, 64, dt))
    for h, d in ((16, 80), (16, 72)):
        yield f"qkv views, head dim {d} {name}", Call(*_packed(4, h, 196, d, dt))
    yield f"empty batch {name}", Call(*qkv(0, 8, 256, 64, dt=dt))
    yield f"zero tokens {name}", Call(*qkv(1, 8, 0, 64, dt=dt))


def _packed(B: int, h: int, N: int, d: int, dt: str) -> tuple[Operand, ...]:
    """Queries, keys and values of one linear layer: (B, N, 3, h, d)."""
    stride = (N * 3 * h * d, d, 3 * h * d, 1)
    return tuple(Operand((B, h, N, d), stride, dt, offset=place * h * d) for place in range(3))


def randomly(number: int = RANDOM, seed: int = SEED) -> Iterator[Call]:
    """Random calls, most of them near a limit of some kernel."""
    dice = _Dice(seed)
    for _ in range(number):
        yield _random(dice)


class _Dice:
    """Draws by ``random.random`` alone, whose sequence is the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def one(self, *values):
        return values[int(self.random() * len(values))]

    def often(self, usual, share: float, *others):
        return usual if self.random() < share else self.one(*others)


def _random(dice: _Dice) -> Call:
    dt = dice.one(*["float16"] * 4, *["bfloat16"] * 3, *["float32"] * 3, "float64")
    B, h = dice.often(
        (dice.one(1, 2, 3, 4), dice.one(1, 2, 3, 8, 12)), 0.85, (65535, 1), (65536, 2), (1, 65536), (2, 65535)
    )
    N = dice.often(dice.one(2, 4, 16, 49, 64, 196, 197), 0.9, 0, 1)
    M = dice.often(N, 0.6, 1, 77, 64, 128, 0)
    steps = dice.one(8, 8, 8, 4, 2, 1)
    d = dice.often(
        steps * int(1 + dice.random() * 272 / steps), 0.8, 1, 64, 128, 192, 200, 224, 248, 256, 264
    )
    e = dice.often(d, 0.9, 128, 64, 256, d + 1)
    kv = dice.often(h, 0.8, 1, max(h // 2, 1), 3)
    dims = dice.often(4, 0.88, 3, 3, 2)
    grad = dice.often(False, 0.6, True)
    q = _operand(dice, (B, h, N, d)[4 - dims :], dt, grad)
    k = _operand(dice, (dice.often(B, 0.97, 1), kv, M, dice.often(d, 0.97, 64))[4 - dims :], dt, grad)
    v = _operand(
        dice,
        (k.shape[0] if dims == 4 else B, dice.often(kv, 0.95, 1), dice.often(M, 0.97, 64), e)[4 - dims :],
        dt,
        grad,
    )
    return Call(
        q,
        replace(k, dtype=dice.often(dt, 0.98, "float32", "float16")),
        v,
        _mask(dice, (B, h, N, M), dt),
        dropout=dice.often(0.0, 0.75, 0.1, 0.125, 0.5, 0.0625),
        is_causal=dice.often(False, 0.9, True),
        enable_gqa=dice.often(False, 0.8, True),
        is_deterministic=dice.often(False, 0.96, True),
    )


def _operand(dice: _Dice, shape: tuple[int, ...], dt: str, grad: bool) -> Operand:
    kind = dice.often("dense", 0.6, "heads inside", "packed", "step", "turned", "offset", "grad")
    whole = Operand(shape, dense(shape), dt, grad)
    *leading, rows, columns = shape
    if kind == "heads inside" and len(leading) == 2:
        h = max(leading[1], 1)
        return replace(whole, stride=(h * rows * columns, columns, h * columns, 1))
    if kind == "packed" and len(leading) == 2:
        h = max(leading[1], 1)
        return replace(
            whole, stride=(3 * h * rows * columns, columns, 3 * h * columns, 1), offset=h * columns
        )
    if kind == "step":
        return replace(whole, stride=dense((*shape, 2))[:-1])
    if kind == "turned":
        return replace(whole, stride=(*dense((*leading, rows, columns))[:-2], 1, rows))
    if kind == "offset":
        return replace(whole, offset=dice.one(1, 2, 3, 4, 8))
    return replace(whole, needs_grad=not grad) if kind == "grad" else whole


def _mask(dice: _Dice, scores: tuple[int, ...], dt: str) -> Operand | None:
    if dice.random() < 0.55:
        return None
    B, h, N, M = scores
    few = (1, h, N, M)
    shape = dice.often(
        few,
        0.4,
        scores,
        (B, 1, N, M),
        (1, 1, N, M),
        (N, M),
        (B, h, 1, M),
        (N, 1),
        (h, N, M),
        (B, 2, N, M),
        (1, h, N, M + 1),
    )
    dtype, grad = dice.often(dt, 0.7, "bool", "float32"), dice.often(False, 0.85, True)
    stride = dice.often(
        dense(shape), 0.8, dense((*shape, 2))[:-1], dense((*shape[:-1], shape[-1] + 8))[: len(shape)]
    )
    return Operand(shape, stride, dtype, grad and dtype != "bool")
