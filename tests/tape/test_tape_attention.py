"""Attention as timm and transformers write it, on the Tape and in torch: see tape_programs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from samattn_cli.stack.cuda import unfused as unfused_in_torch
from samattn_cli.stack.trace import Tracer
from samattn_cli.tape.kernels import attention as fused_attention
from samattn_cli.tape.sdpa import Choice
from samattn_cli.tape.unfused import unfused
from tests.support.tape_programs import RUNS, Program, Run, derived, traced

N, HEADS, D = 5, 2, 4
C = HEADS * D
WINDOWS = 3
QUERIES = 2


def timm(tape, x):
    """timm's vision_transformer.Attention without fused kernels: q is scaled, heads are not merged into the batch."""
    B, N, width = x.shape
    qkv = tape.linear("qkv", x, 3 * width)
    q, k, v = qkv.view(B, N, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4).unbind()
    scaled = tape.scale("scale", q)
    scores = tape.matmul("scores", scaled, k.transpose(-2, -1))
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    values = tape.matmul("values", probabilities, v)
    y = tape.reshape("merge", values.transpose(1, 2), B, N, width)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, width)
    tape.free(scaled, probabilities, qkv, y)
    return out


def timm_in_torch(x, qkv, qkv_bias, proj, proj_bias):
    B, N, width = x.shape
    qkv = torch.nn.functional.linear(x, qkv, qkv_bias)
    q, k, v = qkv.reshape(B, N, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    q = q * 0.5
    scores = q @ k.transpose(-2, -1)
    scores = scores.softmax(dim=-1)
    x = scores @ v
    x = x.transpose(1, 2).reshape(B, N, width)
    return torch.nn.functional.linear(x, proj, proj_bias)


LINEARS = ((3 * C, C), (3 * C,), (C, C), (C,))


def chunked(tape, x):
    """Three parts of one projection, heads by view and transpose; scores scaled after the product."""
    B, N, _ = x.shape
    q, k, v = (part.view(B, N, HEADS, D).transpose(1, 2) for part in x.split((C, C, C), -1))
    scores = tape.matmul("scores", q, k.transpose(-2, -1))
    scaled = tape.scale("scale", scores)
    tape.free(scores)
    values = tape.matmul("values", scaled, v)
    tape.free(scaled)
    out = tape.contiguous("merge", values.transpose(1, 2))
    tape.free(values, keep=out)
    return out.view(B, N, C)


def chunked_in_torch(x):
    B, N, _ = x.shape
    q, k, v = (part.view(B, N, HEADS, D).transpose(1, 2) for part in x.chunk(3, dim=-1))
    scores = torch.matmul(q, k.transpose(-1, -2))
    scores = scores * 0.5
    values = torch.matmul(scores, v)
    del scores
    return values.permute(0, 2, 1, 3).contiguous().view(B, N, C)


def swin(tape, x):
    """Scores (B * windows, heads, N, N) with a bias for each head and a mask for each window, then softmax."""
    biased = tape.add("bias", x, tape.used_weight("bias", HEADS, N, N).unsqueeze(0))
    batch = x.shape[0] // WINDOWS
    mask = tape.buffer(WINDOWS, N, N).unsqueeze(1).unsqueeze(0)
    masked = tape.add("mask", biased.view(batch, WINDOWS, HEADS, N, N), mask)
    tape.free(biased)
    out = tape.softmax("softmax", masked.view(*x.shape))
    tape.free(masked)
    return out


def swin_in_torch(x, bias, mask):
    x = x + bias.unsqueeze(0)
    x = x.view(-1, WINDOWS, HEADS, N, N) + mask.unsqueeze(1).unsqueeze(0)
    x = x.view(-1, HEADS, N, N)
    return torch.softmax(x, dim=-1)


def swin_program(batch):
    return Program(
        (batch * WINDOWS, HEADS, N, N), swin, swin_in_torch, ((HEADS, N, N),), (((WINDOWS, N, N), ""),)
    )


def fewer_queries(tape, x):
    """SAM 2's: parts taken from between the heads; fused attention of some of the queries to all keys."""
    B = x.shape[0]
    qkv = tape.linear("qkv", x, 3 * C)
    q, k, v = qkv.view(B, N, 3, HEADS, D).unbind(2)
    out = fused_attention(tape, "sdpa", *(each.transpose(1, 2) for each in (q.slice(1, 0, QUERIES), k, v)))
    tape.free(qkv)
    return tape.reshape("merge", out.transpose(1, 2), B, QUERIES, C)


def fewer_queries_in_torch(x, qkv, qkv_bias):
    qkv = torch.nn.functional.linear(x, qkv, qkv_bias)
    q, k, v = qkv.reshape(x.shape[0], N, 3, HEADS, D).unbind(2)
    q, k, v = (each.transpose(1, 2) for each in (q[:, :QUERIES], k, v))
    x = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
    return x.transpose(1, 2).reshape(x.shape[0], QUERIES, C)


def softmax_in_float32(tape, x):
    """transformers': scores in the type of the pass, softmax in float32."""
    scaled = tape.scale("scale", x)
    wide = tape.softmax("softmax", scaled, in_float32=True)
    out = tape.cast("narrow", wide, x.item_bytes)
    tape.free(scaled, wide, keep=out)
    return out


def softmax_in_float32_in_torch(x):
    dtype, x = x.dtype, x * 0.5
    return x.softmax(dim=-1, dtype=torch.float32).to(dtype)


def repeated(tape, x):
    return tape.matmul("product", x, tape.used_weight("weight", 1, HEADS, D, 3))


UNFUSED = Choice("math")


def without_fused_kernel(tape, x):
    """Queries, keys and values between whose heads others lie, so that products copy them."""
    B, N, _ = x.shape
    q, k, v = x.view(B, N, 3, HEADS, D).permute(2, 0, 3, 1, 4).unbind()
    return unfused(tape, "sdpa", q, k, v, None, choice=UNFUSED)


def without_fused_kernel_in_torch(x):
    q, k, v = x.view(*x.shape[:2], 3, HEADS, D).permute(2, 0, 3, 1, 4).unbind()
    return unfused_in_torch(q, k, v)


def without_batch(tape, x):
    """Some of the queries, all keys, and a bias that trains and is one for all heads."""
    q, k, v = x.unbind()
    bias = tape.used_weight("bias", QUERIES, N)
    out = unfused(tape, "sdpa", q.slice(1, 0, QUERIES), k, v, bias, choice=UNFUSED)
    return tape.scale("after", out)


def without_batch_in_torch(x, bias):
    q, k, v = x.unbind()
    return unfused_in_torch(q[:, :QUERIES], k, v, bias) * 0.5


PROGRAMS = {
    "timm": Program((2, N, C), timm, timm_in_torch, LINEARS),
    "timm, one image": Program((1, N, C), timm, timm_in_torch, LINEARS),
    "chunks": Program((2, N, 3 * C), chunked, chunked_in_torch),
    "chunks, one image": Program((1, N, 3 * C), chunked, chunked_in_torch),
    "bias and mask": swin_program(2),
    "bias and mask, one image": swin_program(1),
    "fewer queries than keys": Program((2, N, C), fewer_queries, fewer_queries_in_torch, LINEARS[:2]),
    "softmax in float32": Program((2, HEADS, N, N), softmax_in_float32, softmax_in_float32_in_torch),
    "a broadcast operand": Program((2, HEADS, N, D), repeated, torch.matmul, ((1, HEADS, D, 3),)),
}


UNFUSED_PROGRAMS = {
    "unfused": Program((2, N, 3 * C), without_fused_kernel, without_fused_kernel_in_torch),
    "unfused, without a batch": Program(
        (3, HEADS, N, D), without_batch, without_batch_in_torch, ((QUERIES, N),)
    ),
}


@pytest.mark.parametrize("run", [Run(), Run("bfloat16"), Run("float16")], ids=str)
@pytest.mark.parametrize("program", UNFUSED_PROGRAMS.values(), ids=UNFUSED_PROGRAMS.keys())
def test_unfused_products_allocate_keep_and_multiply_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unfused_products_are_those_of_torchs_own_kernel(dtype):
    """With a mask ATen would add it out of place under a mode that traces, and the meta device makes zeros on the host."""
    q, k, v = (
        torch.empty(2, HEADS, size, D, dtype=getattr(torch, dtype), device="meta") for size in (QUERIES, N, N)
    )
    seen = []
    for run in (unfused_in_torch, torch.nn.functional.scaled_dot_product_attention):
        tracer = Tracer("meta", 0)
        tracer.ignore(q, k, v)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), tracer:
            run(q, k, v)
        seen.append((tracer._part.allocations, tracer._part.live, tracer._part.products))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("run", RUNS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_attention_allocates_keeps_and_multiplies_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)
