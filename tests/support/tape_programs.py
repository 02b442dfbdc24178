"""A little program written on the Tape and in torch: what each allocates, keeps and multiplies, in order, on meta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from samattn_cli.stack.autocast import AutocastOnCuda
from samattn_cli.stack.count import count_with_flop_counter, count_with_fvcore
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.gradients import uses_of_the_last_holder
from samattn_cli.stack.trace import PartTrace, Tracer, storage_key
from samattn_cli.tape import autograd
from samattn_cli.tape import tensor as on_the_tape
from samattn_cli.tape.conventions import flop_counter, fvcore
from samattn_cli.tape.graph import Node
from samattn_cli.tape.memory import Liveness, live_over, saved_bytes
from samattn_cli.tape.ops import Recording
from samattn_cli.tape.tape import Tape
from samattn_cli.units import ITEM_BYTES, rounded

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """The same pass twice, of an input that needs a gradient and of others, each made by what is before it.

    Args:
        shape: of the input.
        on_tape: (tape, input) -> output; the tape frees what the function in torch lets go of.
        in_torch: (input, *weights, *buffers) -> output.
        weights: shapes of the weights in torch, in the order of use.
        buffers: shapes and types of what needs no gradient.
    """

    shape: Shape
    on_tape: Callable[[Tape, on_the_tape.Tensor], on_the_tape.Tensor]
    in_torch: Callable[..., Tensor]
    weights: tuple[Shape, ...] = ()
    buffers: tuple[tuple[Shape, str], ...] = ()


@dataclass(frozen=True)
class Run:
    """How a program is run."""

    dtype: str = "float32"
    autocast: str | None = None


RUNS = [Run(), Run("bfloat16"), Run(autocast="bfloat16"), Run(autocast="float16")]


def derived(program: Program, run: Run) -> Mapping[str, object]:
    """What the Tape says."""
    result: dict[str, object] = {}
    for what, training in (("inference", False), ("training", True)):
        tape, x = _tape(run, program.shape, training=training)
        out = program.on_tape(tape, x)
        ahead = tape.recording()
        held = frozenset(storage for op in ahead.ops for storage in op.saves) if training else frozenset()
        result |= _of(what, ahead, live_over(ahead, held))
        if training:
            result["saved"] = saved_bytes(ahead)
            result["params"] = [tuple(parameter.shape) for parameter in ahead.parameters]
            gradient = tape.tensor_like(out)
            held = (x.storage, out.storage, gradient.storage)
            autograd.backward(tape, [(out, gradient)], [(x, None)], held)
            back = tape.recording()
            result |= _of("backward", back, live_over(back))
    return result


def traced(program: Program, run: Run) -> Mapping[str, object]:
    """What torch does."""
    result: dict[str, object] = {}
    inputs = _inputs(program, run)
    inputs[0].requires_grad_(False)  # an activation, which autocast does not take for a weight
    with torch.no_grad(), ExitStack() as modes:
        _enter(modes, run)
        tracer = modes.enter_context(_tracer(inputs))
        tracer.enter(("all", "forward"))
        program.in_torch(*inputs)
        tracer.leave()
    result |= _seen("inference", tracer.sections["all", "forward"])
    result["saved"] = _saved(program, run)
    result["params"] = list(program.weights)
    alone = uses_of_the_last_holder()
    x, *others = _inputs(program, run)
    with torch.enable_grad(), ExitStack() as modes:
        as_on_cuda, tracer = AsOnCuda(), _tracer([x, *others])
        modes.enter_context(as_on_cuda)
        modes.enter_context(tracer)
        entered = x.view(x.shape)
        entered.register_hook(lambda _: tracer.enter(("before", "backward")))
        with ExitStack() as low:
            if run.autocast:
                low.enter_context(AutocastOnCuda(getattr(torch, run.autocast)))
            tracer.enter(("all", "forward"))
            out = program.in_torch(entered, *others)
            tracer.leave()
        del entered
        gradient = torch.empty_like(out)
        tracer.alone = alone
        tracer.enter(("all", "backward"))
        torch.autograd.Variable._execution_engine.run_backward(
            (out,), (gradient,), False, False, (), allow_unreachable=True, accumulate_grad=True
        )
    result |= _seen("training", tracer.sections["all", "forward"])
    return result | _seen("backward", tracer.sections["all", "backward"])


def _tape(run: Run, shape: Shape, *, training: bool) -> tuple[Tape, on_the_tape.Tensor]:
    low = run.autocast and ITEM_BYTES[run.autocast]
    half = run.autocast == "float16"
    tape = Tape(ITEM_BYTES[run.dtype], autocast_bytes=low, half_to_float=half, training=training)
    return tape, replace(tape.tensor(*shape), grad_fn=(Node(None), 0))


def _of(what: str, recording: Recording, live: Liveness) -> dict[str, object]:
    return {
        f"{what} allocations": [int(storage.nbytes) for op in recording.ops for storage in op.allocates],
        f"{what} live": [int(nbytes) for _, nbytes in live.steps],
        f"{what} products": [int(op.flops) for op in recording.ops if op.macs],
    }


def _seen(what: str, part: PartTrace) -> dict[str, object]:
    return {
        f"{what} allocations": part.allocations,
        f"{what} live": part.live,
        f"{what} products": part.products,
    }


def _inputs(program: Program, run: Run) -> list[Tensor]:
    dtype = getattr(torch, run.dtype)
    weights = [torch.empty(shape, dtype=dtype, device="meta") for shape in (program.shape, *program.weights)]
    return [
        *(weight.requires_grad_() for weight in weights),
        *(
            torch.empty(shape, dtype=getattr(torch, kind or run.dtype), device="meta")
            for shape, kind in program.buffers
        ),
    ]


def _tracer(inputs: list[Tensor]) -> Tracer:
    tracer = Tracer("meta", 0)
    tracer.ignore(*inputs)
    return tracer


def _enter(modes: ExitStack, run: Run) -> None:
    modes.enter_context(AsOnCuda())
    if run.autocast:
        modes.enter_context(AutocastOnCuda(getattr(torch, run.autocast)))


def _saved(program: Program, run: Run) -> int:
    x, *others = _inputs(program, run)
    known = {storage_key(tensor) for tensor in others}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        if storage_key(tensor) not in known:
            kept[storage_key(tensor)] = tensor.untyped_storage()
        return tensor

    with ExitStack() as modes:
        _enter(modes, run)
        modes.enter_context(saved_tensors_hooks(pack, lambda tensor: tensor))
        program.in_torch(x.view(x.shape), *others)
    return sum(rounded(storage.nbytes()) for storage in kept.values())


class Module(nn.Module):
    """A program in torch as a module."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        _, *others = _inputs(program, Run())
        self.in_torch = program.in_torch
        self.weights = nn.ParameterList(others[: len(program.weights)])
        for index, buffer in enumerate(others[len(program.weights) :]):
            self.register_buffer(f"buffer_{index}", buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Its output."""
        return self.in_torch(x, *self.weights, *self.buffers())


def counts_derived(program: Program) -> list[dict[str, int]]:
    """By kind, what fvcore and FlopCounterMode would count, says the Tape."""
    tape, x = _tape(Run(), program.shape, training=False)
    program.on_tape(tape, x)
    ops = tape.recording().ops
    return [
        {kind: count for kind in kinds if (count := sum(convention(op) for op in ops if op.kind == kind))}
        for convention in (fvcore, flop_counter)
        for kinds in [dict.fromkeys(op.kind for op in ops)]
    ]


def counts_found(program: Program) -> list[dict[str, int]]:
    """By kind, what they count."""
    module, x = Module(program), _inputs(program, Run())[0].detach()
    return [count(module, x).get("", {}) for count in (count_with_fvcore, count_with_flop_counter)]
