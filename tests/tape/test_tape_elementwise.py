"""Elementwise operations and norms, on the Tape and in torch: see tape_programs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from samattn_cli.tape.norms import rms_norm
from tests.support.tape_programs import RUNS, Program, derived, traced

B, HEADS, N, D = 2, 3, 5, 8


def rms_norm_in_torch(hidden_states, weight):
    """As transformers writes Qwen2.5-VL's (Qwen2_5_VLRMSNorm)."""
    input_dtype = hidden_states.dtype
    hidden_states = hidden_states.to(torch.float32)
    variance = hidden_states.pow(2).mean(-1, keepdim=True)
    hidden_states = hidden_states * torch.rsqrt(variance + 1e-6)
    return weight * hidden_states.to(input_dtype)


def quick_gelu(tape, x):
    scaled = tape.scale("scale", x)
    gate = tape.sigmoid("sigmoid", scaled)
    tape.free(scaled)
    out = tape.mul("gate", x, gate)
    tape.free(gate)
    return out


def gated(tape, x):
    """A gated MLP: down(silu(gate(x)) * up(x))."""
    gate = tape.linear("gate_proj", x, 12)
    active = tape.silu("act", gate)
    tape.free(gate)
    up = tape.linear("up_proj", x, 12)
    product = tape.mul("gate", active, up)
    tape.free(active, up)
    out = tape.linear("down_proj", product, x.shape[-1])
    tape.free(product)
    return out


def gated_in_torch(x, gate, gate_bias, up, up_bias, down, down_bias):
    hidden = F.silu(F.linear(x, gate, gate_bias)) * F.linear(x, up, up_bias)
    return F.linear(hidden, down, down_bias)


def rotary(tape, x):
    """Rotary positions (B, N, D) as buffers: x * cos + rotate_half(x) * sin."""
    cos, sin = (tape.buffer(B, N, D).unsqueeze(1) for _ in "cs")
    first = tape.mul("cos", x, cos)
    halves = x.slice(3, 0, D // 2), x.slice(3, D // 2)
    negative = tape.neg("neg", halves[1])
    rotated = tape.cat("rotate_half", (negative, halves[0]))
    tape.free(negative)
    second = tape.mul("sin", rotated, sin)
    tape.free(rotated)
    out = tape.add("add", first, second)
    tape.free(first, second)
    return out


def rotate_half(x):
    first, second = x[..., : D // 2], x[..., D // 2 :]
    return torch.cat((-second, first), dim=-1)


def rotary_in_torch(x, cos, sin):
    return x * cos.unsqueeze(1) + rotate_half(x) * sin.unsqueeze(1)


def rotary_by_chunks(tape, x):
    """The halves by chunk, the positions made on the spot."""
    cos = tape.constant("cos", x, N, D)
    first, second = x.split((D // 2, D // 2), -1)
    negative = tape.neg("neg", second)
    rotated = tape.cat("rotate_half", (negative, first))
    tape.free(negative)
    out = tape.mul("mul", rotated, cos)
    tape.free(cos, rotated)
    return out


def rotary_by_chunks_in_torch(x):
    cos = torch.empty(N, D, dtype=x.dtype, device="meta")
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1) * cos


def cosine(tape, x):
    """Swin V2's scores: normalized queries and keys, times the exponential of a bounded weight."""
    q, k = (tape.normalize(name, tensor) for name, tensor in (("q", x), ("k", x)))
    scores = tape.matmul("scores", q, k.transpose(-2, -1))
    tape.free(q, k)
    bounded = tape.clamp("clamp", tape.used_weight("logit_scale", HEADS, 1, 1))
    scale = tape.exp("exp", bounded)
    tape.free(bounded)
    out = tape.mul("scale", scores, scale)
    tape.free(scale, scores)
    return out


def cosine_in_torch(x, logit_scale):
    scores = F.normalize(x, dim=-1) @ F.normalize(x, dim=-1).transpose(-2, -1)
    logit_scale = torch.clamp(logit_scale, max=4.6).exp()
    return scores * logit_scale


WINDOW = 4
PLACES = WINDOW * WINDOW


def continuous_bias(tape, x):
    """Swin V2's bias: an MLP on a table of offsets, rows of its result, 16 * sigmoid of them."""
    table = tape.buffer(1, 2 * WINDOW - 1, 2 * WINDOW - 1, 2)
    hidden = tape.linear("cpb_mlp.0", table, 6)
    active = tape.relu("cpb_mlp.1", hidden)
    tape.free(hidden)
    flat = tape.linear("cpb_mlp.2", active, HEADS, bias=False)
    tape.free(active)
    index = tape.buffer(PLACES, PLACES, item_bytes=8).view(PLACES * PLACES)
    rows = tape.rows("rows", flat.view((2 * WINDOW - 1) ** 2, HEADS), (index,), PLACES * PLACES, HEADS)
    bias = tape.contiguous("bias", rows.view(PLACES, PLACES, HEADS).permute(2, 0, 1))
    tape.free(rows)
    gate = tape.sigmoid("sigmoid", bias)
    scaled = tape.scale("scale", gate)
    tape.free(gate)
    out = tape.add("add", x, scaled.unsqueeze(0))
    tape.free(scaled, bias, flat)
    return out


def continuous_bias_in_torch(x, w0, b0, w2, table, index):
    table = F.linear(F.relu(F.linear(table, w0, b0)), w2).view(-1, HEADS)
    bias = table[index.view(-1)].view(PLACES, PLACES, -1).permute(2, 0, 1).contiguous()
    scaled = 16 * torch.sigmoid(bias)
    return x + scaled.unsqueeze(0)


def relu_in_place(tape, x):
    """Swin V2's, of what a linear layer makes: a view of its rows."""
    hidden = tape.linear("0", x, 6)
    active = tape.relu_("1", hidden)
    out = tape.linear("2", active, D, bias=False)
    tape.free(active)
    return out


def relu_in_place_in_torch(x, w0, b0, w2):
    return F.linear(F.relu(F.linear(x, w0, b0), inplace=True), w2)


def of_one(name, in_torch, **options):
    return Program((B, N, D), lambda tape, x: getattr(tape, name)(name, x, **options), in_torch)


def of_transposed(name, in_torch):
    return Program(
        (B, N, D),
        lambda tape, x: getattr(tape, name)(name, x.slice(2, 2, 6).transpose(1, 2)),
        lambda x: in_torch(x[..., 2:6].transpose(1, 2)),
    )


PROGRAMS = {
    "silu": of_one("silu", F.silu),
    "sigmoid": of_one("sigmoid", torch.sigmoid),
    "relu": of_one("relu", F.relu),
    "gelu": of_one("gelu", F.gelu),
    "gelu by tanh": of_one("gelu", lambda x: F.gelu(x, approximate="tanh"), tanh=True),
    "neg": of_one("neg", torch.neg),
    "exp": of_one("exp", torch.exp),
    "rsqrt": of_one("rsqrt", torch.rsqrt),
    "clamp": of_one("clamp", lambda x: x.clamp(max=1.0)),
    "normalize": of_one("normalize", lambda x: F.normalize(x, dim=-1)),
    "norm": of_one("norm", lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True)),
    "norm by the tensor's method": of_one("norm", lambda x: x.norm(dim=-1, keepdim=True)),
    "silu of a transposed part": of_transposed("silu", F.silu),
    "normalize of a transposed part": of_transposed("normalize", lambda x: F.normalize(x, dim=-1)),
    "quick GELU": Program((B, N, D), quick_gelu, lambda x: x * torch.sigmoid(1.702 * x)),
    "a tensor times itself": Program((B, N, D), lambda tape, x: tape.mul("mul", x, x), lambda x: x * x),
    "RMSNorm": Program((B, N, D), lambda tape, x: rms_norm(tape, "norm", x), rms_norm_in_torch, ((D,),)),
    "gated MLP": Program((B, N, D), gated, gated_in_torch, ((12, D), (12,), (12, D), (12,), (D, 12), (D,))),
    "gated MLP of a matrix": Program(
        (N, D), gated, gated_in_torch, ((12, D), (12,), (12, D), (12,), (D, 12), (D,))
    ),
    "rotary": Program((B, HEADS, N, D), rotary, rotary_in_torch, (), (((B, N, D), ""), ((B, N, D), ""))),
    "rotary by chunks": Program((B, HEADS, N, D), rotary_by_chunks, rotary_by_chunks_in_torch),
    "cosine attention": Program((B, HEADS, N, D), cosine, cosine_in_torch, ((HEADS, 1, 1),)),
    "ReLU in place": Program((B, N, D), relu_in_place, relu_in_place_in_torch, ((6, D), (6,), (D, 6))),
    "continuous bias": Program(
        (B, HEADS, PLACES, PLACES),
        continuous_bias,
        continuous_bias_in_torch,
        ((6, 2), (6,), (HEADS, 6)),
        (((1, 2 * WINDOW - 1, 2 * WINDOW - 1, 2), ""), ((PLACES, PLACES), "int64")),
    ),
}


@pytest.mark.parametrize("run", RUNS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_elementwise_operations_allocate_and_keep_what_torch_does(program, run):
    assert derived(program, run) == traced(program, run)
