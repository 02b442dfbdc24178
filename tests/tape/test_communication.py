"""What GPUs send each other in a training step, against the collectives that torch calls over its fake process group."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import debugging_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.errors import DeviceError
from samattn_cli.stack import parallel
from samattn_cli.stack.step import Step
from samattn_cli.tape.communication import Sent, sent, sent_bytes
from samattn_cli.tape.training import training_step
from tests.support.torch_2_6 import FSDP_ON_CPU

Call = tuple[str, int]
"""A kind of collective, and the bytes of the whole tensor."""

KINDS = {
    "broadcast_": "broadcast",
    "allreduce_": "all_reduce",
    "_allgather_base_": "all_gather",
    "_reduce_scatter_base_": "reduce_scatter",
}


class Calls(TorchDispatchMode):
    """Notes the collectives that torch calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            kind = KINDS[func.overloadpacket.__name__]
            tensors = args[:2] if kind in {"all_gather", "reduce_scatter"} else args[0]
            self.seen.append((kind, max(tensor.nbytes for tensor in tensors)))
        return func(*args, **(kwargs or {}))


def called(config: EncoderConfig, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The collectives of the step that a config means, with the buckets that the reducer passes to its hook."""
    calls = Calls()

    def hook(_, bucket):
        calls.seen.append(("all_reduce", bucket.buffer().nbytes))
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    monkeypatch.setattr(debugging_hooks, "noop_hook", hook)
    warnings.filterwarnings("ignore", "Grad strides do not match")
    try:
        step = Step(config, "cpu")
        for _ in range(config.run.passes_before):
            step()
        calls.seen.clear()
        with calls:
            step()
    finally:
        dist.destroy_process_group()
    return calls.seen


SMALL = {
    "vit_b": ["image_size=64", "depth=3", "embed_dim=192", "num_heads=3"],
    "swin_t": ["image_size=64", *(f"stages.{number}.depth={2 - number // 2}" for number in range(4))],
}


def is_fsdp(overrides: list[str]) -> bool:
    return any(
        word.startswith(("run.parallel=zero2", "run.parallel=zero3", "run.parallel=fsdp2"))
        for word in overrides
    )


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("vit_b", ["run.parallel=zero1", "run.gpus=3", "run.accumulate=2"]),
        pytest.param(
            *("vit_b", ["run.parallel=fsdp2", "run.gpus=4", "run.reshard_after_forward=2"]), marks=FSDP_ON_CPU
        ),
        *(
            pytest.param(
                preset, overrides, marks=[pytest.mark.exhaustive, *[FSDP_ON_CPU] * is_fsdp(overrides)]
            )
            for preset, overrides in (
                ("swin_t", ["run.parallel=zero1", "run.gpus=4"]),
                ("swin_t", ["run.parallel=ddp", "run.gpus=2", "run.accumulate=3"]),
                ("vit_b", ["run.parallel=ddp", "run.gpus=8", "run.step=first"]),
                ("vit_b", ["run.parallel=ddp", "run.gpus=8", "run.trains=blocks.1-2"]),
                ("vit_b", ["run.parallel=zero2", "run.gpus=8", "run.accumulate=2"]),
                ("vit_b", ["run.parallel=zero3", "run.gpus=64", "run.step=first"]),
                ("vit_b", ["run.parallel=zero3", "run.gpus=8", "run.trains=blocks.2"]),
                ("vit_b", ["run.parallel=zero3", "run.gpus=8", "run.trains=norm,blocks.1"]),
                ("vit_b", ["run.parallel=zero3", "run.gpus=2", "run.checkpointing=true"]),
                ("swin_t", ["run.parallel=fsdp2", "run.gpus=3", "run.param_dtype=bfloat16"]),
            )
        ),
    ],
)
def test_the_collectives_of_a_step_are_those_that_torch_calls(preset, overrides, monkeypatch) -> None:
    config = load_config(preset, ["run.mode=training", *SMALL[preset], *overrides])
    derived = sent(training_step(config)).all
    assert [(each.kind, each.nbytes) for each in derived] == called(config, monkeypatch)
    over = config.run.reshards
    assert {each.ranks for each in derived} == {config.run.gpus} | ({over} if over > 1 else set())


def test_fsdp_on_a_cpu_is_refused_where_torch_cannot_run_it(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "RUNS_FSDP_ON_CPU", False)  # as in torch 2.6.0
    config = load_config("vit_b", ["run.mode=training", "run.parallel=zero3", "run.gpus=2", *SMALL["vit_b"]])
    with pytest.raises(DeviceError) as error:
        Step(config, "cpu")
    assert error.value.codes == ("no-fsdp-on-cpu",)


def test_what_each_rank_sends() -> None:
    """nccl-tests, doc/PERFORMANCE.md: 2(n-1)/n of an all-reduce, (n-1)/n of an all-gather and a reduce-scatter."""
    each = [sent_bytes(kind, 800, 8) for kind in ("all_reduce", "all_gather", "reduce_scatter", "broadcast")]
    assert each == [1400, 700, 700, 800]
    assert [sent_bytes("all_reduce", 100, 3), sent_bytes("all_gather", 100, 3)] == [134, 67]  # rounded up
    assert {sent_bytes(kind, 800, 1) for kind in ("all_reduce", "all_gather", "broadcast")} == {0}


def test_one_gpu_sends_nothing() -> None:
    config = load_config("vit_b", ["run.mode=training", "run.parallel=ddp", *SMALL["vit_b"]])
    assert sent(training_step(config)) == Sent()


def test_ddp_sends_every_gradient_of_sam_vit_b() -> None:
    """89,670,912 numbers of 4 bytes; each of 8 GPUs sends 14/8 of them, and no buffers."""
    step = training_step(load_config("sam_vit_b", ["run.mode=training", "run.parallel=ddp", "run.gpus=8"]))
    derived = sent(step)
    assert {each.kind for each in derived.all} == {"all_reduce"}
    assert sum(each.nbytes for each in derived.all) == 4 * 89_670_912
    assert derived.bytes == 7 * 89_670_912
