"""The Tape refuses to use a freed tensor, and to free one twice."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.families.swin import tape as swin
from samattn_cli.tape import derivatives
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.memory import LifetimeError, live_over, walk
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.training import training_step
from tests.support.passes import forget_passes


def freed_twice(tape, x):
    tape.free(x)
    tape.scale("later", tape.tensor(2))
    tape.free(x)


def freed_twice_at_once(tape, x):
    tape.free_storages(x.storage, x.storage)


def read_after(tape, x):
    tape.free(x)
    tape.scale("again", x)


def a_view_read_after(tape, x):
    tape.free(x)
    tape.scale("again", x.view(8))


def kept_after(tape, x):
    out = tape.scale("first", tape.weight(tape.parameter("weight", 2, 4)))
    tape.free(x)
    tape.derived("first", out, (out,), derivatives.scale, saves=(x,))
    tape.ops.append(tape.ops.pop(-2))  # the operation that keeps it, after it was freed


def a_buffer_freed(tape, x):
    tape.add("mask", x, buffer := tape.buffer(2, 4))
    tape.free(buffer)


FAULTS = {
    freed_twice: "free frees 32 bytes that have been freed",
    freed_twice_at_once: "free frees 32 bytes that have been freed",
    read_after: "again reads 32 bytes that have been freed",
    a_view_read_after: "again reads 32 bytes that have been freed",
    kept_after: "first keeps 32 bytes that have been freed",
    a_buffer_freed: "free frees 32 bytes of a weight or buffer",
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
def test_a_fault_is_named_with_its_operation(fault, message):
    tape = Tape(4)
    fault(tape, tape.tensor(2, 4))
    with pytest.raises(LifetimeError) as caught:
        live_over(tape.recording())
    assert str(caught.value) == message


def test_a_tensor_may_be_read_before_it_is_freed():
    tape = Tape(4)
    x = tape.tensor(2, 4)
    out = tape.scale("scale", x)
    tape.free(x)
    tape.free(tape.scale("scale", out), out)
    assert live_over(tape.recording()).change == -512  # x, which was there before


def test_the_fault_of_swins_windows_one_token_high_is_noticed_without_torch(monkeypatch):
    """The rolled tensor was freed, although its windows, a view of it, were kept until the end of the block."""
    forget_passes()
    monkeypatch.setattr(swin, "free_unless_shared", lambda tape, x, _: len(x.shape) > 1 and tape.free(x))
    given = {"image_size": 60, "embed_dim": 12, "depth": 2, "num_heads": 3, "window_size": [1, 7]}
    config = load_config({**given, "patch_size": 4, "block": "swin"})
    with pytest.raises(LifetimeError, match="have been freed"):
        list(walk(forward(config)))
    forget_passes()


def test_backward_of_lora_reads_the_gradient_and_not_the_projection_that_is_freed():
    """CopySlices copies a part of the gradient: the queries' or the values' third of (1, 2, 2, 24) float32."""
    given = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    config = load_config({**given, "block": "sam_lora", "lora_rank": 2, "run": {"trains": "adapters"}})
    backward = training_step(config).recordings[-1]
    made = {op.allocates[0]: op for op in backward.ops if op.name.endswith("grad_whole")}
    copies = [op for op in backward.ops if op.name.endswith(".grad_part")]
    assert copies
    for op in copies:
        assert op.reads[0] in made
        assert op.bytes_read == 2 * 2 * 8 * 4
