"""Frozen weights: for small programs, the Tape records what PyTorch does on meta tensors, byte for byte.

A program is a chain of steps, each written twice: on the Tape and in torch. Any of its weights may be frozen, and its
input may or may not need a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from samattn_cli.stack.autocast import AutocastOnCuda
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.gradients import uses_of_the_last_holder
from samattn_cli.stack.trace import Tracer, storage_key
from samattn_cli.tape import autograd
from samattn_cli.tape.graph import Node
from samattn_cli.tape.memory import live_over, saved_bytes
from samattn_cli.tape.ops import Parameter
from samattn_cli.tape.tape import Tape
from samattn_cli.units import rounded
from tests.support.program_steps import STEPS, B, C, H, W
from tests.support.sampling import examples


class FrozenTape(Tape):
    """A Tape on which the weights of some names are frozen."""

    frozen: frozenset[str] = frozenset()

    def parameter(self, name: str, *shape: int) -> Parameter:
        made = super().parameter(name, *shape)
        return replace(made, trains=made.name not in self.frozen)


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
    freed = sum(rounded(storage.nbytes) for storage in ahead.cached if storage not in saved)
    found = recorded("forward", ahead, saved, freed)
    if not training:
        return found
    gradient = tape.tensor_like(x)
    back = Tape(4)
    if x.grad_fn:
        kept = (image.storage, x.storage, gradient.storage)
        autograd.backward(back, [(x, gradient)], [(image, None)], kept)
    return found | recorded("backward", back.recording()) | {"saved": saved_bytes(ahead)}


def recorded(prefix: str, recording, kept=frozenset(), freed: int = 0) -> Figures:
    liveness = live_over(recording, kept)
    sizes = (storage.nbytes for op in recording.ops for storage in op.allocates)
    live = (nbytes for _, nbytes in liveness.steps)
    products = (op.flops for op in recording.ops if op.macs)
    return figures(prefix, sizes, live, products, liveness.change - freed)


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
    """Bytes that autograd saves, without weights."""
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


def choices(weights: Iterable[str]) -> list[frozenset[str]]:
    found = [frozenset[str]()]
    for weight in weights:
        found += [frozen | {weight} for frozen in found]
    return found


BEFORE = {"contiguous": (), "transposed": ("transposed",), "cut": ("cut",)}


def assert_same_whatever_is_frozen(program: Program) -> None:
    for frozen in choices(program.weights):
        for input_trains in (False, True):
            assert_same(replace(program, frozen=frozen, input_trains=input_trains))


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
@pytest.mark.parametrize("step", STEPS)
def test_a_step_does_what_torch_does_whichever_of_its_weights_are_frozen(step, before):
    assert_same_whatever_is_frozen(Program((*before, step), frozenset()))


# the Tape's fused attention is given operands in the type of products, as linear layers make them
CAST = [step for step in STEPS if step != "fused attention"]
FIRST = "gelu"
"""Autocast keeps a copy of an input that is a leaf, as of a weight, which an encoder's never is."""


@pytest.mark.parametrize("step", CAST)
def test_a_step_does_it_under_autocast(step):
    assert_same_whatever_is_frozen(Program((FIRST, "cut", step), frozenset(), low=True))


@st.composite
def programs(draw) -> Program:
    low = draw(st.booleans())
    steps = draw(st.lists(st.sampled_from(CAST if low else list(STEPS)), min_size=2, max_size=7))
    program = Program((*([FIRST] if low else []), *steps), frozenset(), draw(st.booleans()), low)
    frozen = draw(st.sets(st.sampled_from(program.weights))) if program.weights else ()
    return replace(program, frozen=frozenset(frozen))


@settings(
    max_examples=examples(60), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(program=programs())
def test_any_chain_does_what_torch_does_whichever_of_its_weights_are_frozen(program):
    assert_same(program)
