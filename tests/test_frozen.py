"""Frozen weights: what the Tape records of small programs is what PyTorch does on meta tensors, to the last byte.

A program is a chain of steps, each written twice: on the Tape and in torch. Any of its weights may be frozen, and its
input may or may not need a gradient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from samattn_cli import load_config
from samattn_cli.cost import autograd, encoder
from samattn_cli.cost.graph import Node
from samattn_cli.cost.kernels import attention
from samattn_cli.cost.memory import live_over, saved_bytes
from samattn_cli.cost.ops import Parameter
from samattn_cli.cost.recorder import Recorder
from samattn_cli.cost.tape import Tape
from samattn_cli.cost.tensor import Tensor
from samattn_cli.cost.training import training_step
from samattn_cli.nn.cuda import AsOnCuda, AutocastOnCuda
from samattn_cli.nn.encoder import build, image_for
from samattn_cli.nn.gradients import uses_of_the_last_holder
from samattn_cli.nn.trace import Tracer, storage_key, trace_forward, trace_saved, trace_training
from samattn_cli.studies.verify import claims_of
from samattn_cli.units import rounded
from samattn_cli.verdicts import ClaimedPass

B, H, W, C = 2, 3, 4, 8
N = H * W


class FrozenTape(Tape):
    """A Tape on which the weights of some names are frozen."""

    frozen: frozenset[str] = frozenset()

    def parameter(self, name: str, *shape: int) -> Parameter:
        made = super().parameter(name, *shape)
        return replace(made, trains=made.name not in self.frozen)


# -- steps: (B, H, W, C) -> the same ----------------------------------------------------------------------------------


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
        out = tape.conv2d(name, y, C, kernel, (H, W), bias=bias)
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
    scores = tape.matmul("scores", y, y.permute(0, 2, 1))
    weights = tape.softmax("softmax", scores)
    tape.free(scores)
    out = tape.matmul("values", weights, y)
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
        out = tape.matmul("product", y, R.permute(0, 2, 1))
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
            tape, name, lambda: tape.add_weight("", x, tape.parameter("pos", 1, H, W, C), (1, H, W, C))
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
    "transposed": Step(
        lambda tape, name, x: tape.contiguous(name, x.permute(3, 1, 2, 0)).permute(3, 1, 2, 0),
        lambda: Do(lambda _, x: x.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)),
    ),
}


# -- a program, run on both -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """Names of steps, names of weights that are frozen ("2.bias"), and whether the input needs a gradient."""

    steps: tuple[str, ...]
    frozen: frozenset[str]
    input_trains: bool = False
    low: bool = False

    @property
    def weights(self) -> list[str]:
        return [f"{at}.{weight}" for at, step in enumerate(self.steps) for weight in STEPS[step].weights]


Figures = dict[str, object]


def figures(prefix: str, allocations, live, products, change) -> Figures:
    made = {"allocations": list(allocations), "live": list(live), "products": list(products)}
    return {f"{prefix} {what}": numbers for what, numbers in made.items()} | {f"{prefix} change": change}


def on_tape(program: Program, *, training: bool = True) -> Figures:
    tape = FrozenTape(4, autocast_bytes=2 if program.low else None, training=training)
    tape.frozen = program.frozen
    image = tape.tensor(B, H, W, C)
    x = image = replace(image, grad_fn=(Node(None, shape=image.shape), 0) if program.input_trains else None)
    for at, name in enumerate(program.steps):
        out = STEPS[name].on_tape(tape, str(at), x)
        if x.storage is not image.storage:
            tape.free(x, keep=out)
        x = out
    ahead = tape.recording()
    saved = frozenset(storage for op in ahead.ops for storage in op.saves) if training else frozenset()
    gone = sum(rounded(storage.nbytes) for storage in ahead.cached if storage not in saved)
    found = recorded("forward", ahead, saved, gone)
    if not training:
        return found
    gradient = tape.tensor_like(x)
    back = Tape(4)
    if x.grad_fn:
        autograd.backward(back, x, gradient, (image.storage, x.storage, gradient.storage))
    return found | recorded("backward", back.recording()) | {"saved": saved_bytes(ahead)}


def recorded(prefix: str, recording, held=frozenset(), gone: int = 0) -> Figures:
    liveness = live_over(recording, held)
    sizes = (storage.nbytes for op in recording.ops for storage in op.allocates)
    live = (nbytes for _, nbytes in liveness.steps)
    products = (op.flops for op in recording.ops if op.macs)
    return figures(prefix, sizes, live, products, liveness.change - gone)


def torch_program(program: Program) -> tuple[nn.Module, torch.Tensor]:
    with torch.device("meta"):
        model = nn.Sequential(*(STEPS[name].module() for name in program.steps))
        x = torch.empty(B, H, W, C, requires_grad=program.input_trains)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in program.frozen)
    return model, x


def run(program: Program, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with ExitStack() as stack:
        if program.low:
            stack.enter_context(AutocastOnCuda(torch.bfloat16))
        return model(x)


def in_torch(program: Program, *, training: bool = True) -> Figures:
    model, x = torch_program(program)
    alone = uses_of_the_last_holder()
    mode = Tracer("meta", 0)
    mode.ignore(*model.parameters(), x)
    with torch.set_grad_enabled(training), AsOnCuda(), mode:
        mode.enter(("all", "forward"))
        out = run(program, model, x)
        mode.leave()
        gradient = torch.empty_like(out)
        if training:
            mode.enter(("all", "backward"))
            mode.alone = alone
            if out.requires_grad:
                torch.autograd.Variable._execution_engine.run_backward(
                    (out,), (gradient,), False, False, (), allow_unreachable=True, accumulate_grad=True
                )
            mode.leave()
    found = traced("forward", mode.parts_in("forward")["all"])
    if not training:
        return found
    del out
    return found | traced("backward", mode.parts_in("backward")["all"]) | {"saved": kept_by_torch(program)}


def traced(prefix: str, part) -> Figures:
    return figures(prefix, part.allocations, part.live, part.products, part.change)


def kept_by_torch(program: Program) -> int:
    """Bytes that autograd is given to keep, weights left out."""
    model, x = torch_program(program)
    weights = {storage_key(weight) for weight in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if storage_key(tensor) not in weights:
            kept[storage_key(tensor)] = tensor.untyped_storage()
        return tensor

    with AsOnCuda(), saved_tensors_hooks(pack, lambda tensor: tensor):
        run(program, model, x)
    return sum(rounded(storage.nbytes()) for storage in kept.values())


def assert_same(program: Program) -> None:
    assert on_tape(program) == in_torch(program)
    assert on_tape(program, training=False) == in_torch(program, training=False)


# -- each step with each choice of what is frozen ---------------------------------------------------------------------


def choices(weights: Iterable[str]) -> list[frozenset[str]]:
    found = [frozenset[str]()]
    for weight in weights:
        found += [frozen | {weight} for frozen in found]
    return found


def assert_same_whatever_is_frozen(program: Program) -> None:
    for frozen in choices(program.weights):
        for input_trains in (False, True):
            assert_same(replace(program, frozen=frozen, input_trains=input_trains))


@pytest.mark.parametrize("before", [(), ("transposed",)], ids=["contiguous", "not contiguous"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_does_what_torch_does_whichever_of_its_weights_are_frozen(step, before):
    assert_same_whatever_is_frozen(Program((*before, step), frozenset()))


# the Tape's fused attention is given operands in the type of products, as linear layers make them
CAST = [step for step in STEPS if step != "fused attention"]
FIRST = "gelu"
"""Autocast keeps a copy of an input that is a leaf, as of a weight, which an encoder's never is."""


@pytest.mark.parametrize("before", [(), ("transposed",)], ids=["contiguous", "not contiguous"])
@pytest.mark.parametrize("step", CAST)
def test_a_step_does_it_under_autocast(step, before):
    assert_same_whatever_is_frozen(Program((FIRST, *before, step), frozenset(), low=True))


@st.composite
def programs(draw) -> Program:
    low = draw(st.booleans())
    steps = draw(st.lists(st.sampled_from(CAST if low else list(STEPS)), min_size=2, max_size=7))
    program = Program((*([FIRST] if low else []), *steps), frozenset(), draw(st.booleans()), low)
    frozen = draw(st.sets(st.sampled_from(program.weights))) if program.weights else ()
    return replace(program, frozen=frozenset(frozen))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs())
def test_any_chain_does_what_torch_does_whichever_of_its_weights_are_frozen(program):
    assert_same(program)


# -- whole encoders ---------------------------------------------------------------------------------------------------

ENCODER = {
    "image_size": [20, 28],
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 4,
    "num_heads": 2,
    "window_size": 3,
    "global_attn_indexes": [2],
    "rel_pos": "decomposed",
    "neck": "sam",
    "out_chans": 8,
}

TRAINED = {
    "all": lambda _: True,
    "blocks and neck": lambda name: "embed" not in name,
    "position embedding": lambda name: name == "pos_embed",
    "norms": lambda name: "norm" in name,
    "biases": lambda name: name.endswith("bias"),
    "relative positions": lambda name: "rel_pos" in name,
    "the last layer of each MLP": lambda name: "lin2" in name,
    "neck": lambda name: name.startswith("neck"),
    "the last norm": lambda name: name.startswith("neck.3"),
}
"""Which weights train, by their names in the encoder."""

RUNS = {
    "eager": {},
    "sdpa": {"attention": "sdpa"},
    "fused": {"attention": "fused"},
    "autocast": {"autocast": "bfloat16"},
    "checkpointed": {"checkpointing": True},
    "checkpointed, with autocast": {"checkpointing": True, "autocast": "bfloat16", "attention": "sdpa"},
}


@pytest.fixture
def freeze(monkeypatch):
    """Freeze weights on the Tape by their names in the encoder."""

    def freezing(trained: Callable[[str], bool]) -> None:
        segment = encoder.patch_embed, encoder.pos_embed, encoder.vit.block, encoder.sam_neck
        prefixes = "patch_embed.", "", "blocks.N.", "neck."
        homes = encoder, encoder, encoder.vit, encoder
        now = [""]
        for function, prefix, home in zip(segment, prefixes, homes, strict=True):

            def within(*args, function=function, prefix=prefix):
                now[0] = prefix
                return function(*args)

            monkeypatch.setattr(home, function.__name__, within)
        made = Recorder.parameter

        def parameter(self, name, *shape):
            weight = made(self, name, *shape)
            return replace(weight, trains=trained(now[0] + weight.name))

        monkeypatch.setattr(Recorder, "parameter", parameter)
        encoder._forward.cache_clear()

    yield freezing
    encoder._forward.cache_clear()


def derived_of(claimed: ClaimedPass) -> dict[str, dict[str, list[int]]]:
    return {
        what: {part: [number for _, number in steps] for part, steps in getattr(claimed, what).items()}
        for what in ("allocations", "live", "products")
    }


def found_in(parts) -> dict[str, dict[str, list[int]]]:
    return {
        what: {name: getattr(part, what) for name, part in parts.items()}
        for what in ("allocations", "live", "products")
    }


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
@pytest.mark.parametrize("trained", TRAINED.values(), ids=TRAINED.keys())
def test_an_encoder_with_frozen_weights_does_what_torch_does(freeze, trained, run):
    config = load_config(ENCODER | {"run": {"batch_size": 2, **run}})
    freeze(trained)
    claims, step = claims_of(config), training_step(config)
    model, image = build(config, "meta"), image_for(config, "meta")
    for name, weight in model.named_parameters():
        weight.requires_grad_(trained(re.sub(r"blocks\.\d+", "blocks.N", name)))
    assert derived_of(claims.inference) == found_in(trace_forward(model, image, 0))
    assert claims.saved_bytes == trace_saved(model, image)
    forward, backward = trace_training(model, image, 0)
    assert derived_of(claims.training) == found_in(forward)
    assert derived_of(claims.backward) == found_in(backward)
    trains = [rounded(weight.nbytes) for weight in model.parameters() if weight.requires_grad]
    assert step.gradients_bytes == sum(trains)
    assert step.optimizer_bytes == 2 * sum(trains)
    over_backward = sum(live_over(recording).change for recording in step.recordings)
    output = rounded(step.forward.segments[-1].output.nbytes)
    assert step.kept_bytes + over_backward == sum(trains) + output
