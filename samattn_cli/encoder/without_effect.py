"""Keys of a run that are set and change nothing in what is asked."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Message
from ..records import replace
from .allocator_settings import AllocatorSettings, settings_of
from .model import RunConfig
from .torch_versions import DEFAULT, LINEAR_IS_VIEW_BEFORE

CODE = "key-without-effect"


def without_effect(run: RunConfig, *, on_cuda: bool, has_times: bool) -> Iterator[Message]:
    """A note for each key that is set and changes nothing.

    Args:
        run: how the encoder is run.
        on_cuda: whether the answer is about a CUDA device, whose allocator is replayed.
        has_times: whether the answer has times.
    """
    if run.allocator and not on_cuda:
        text = "it changes what a CUDA device allocates and reserves; add --device, such as --device a100_80"
        yield Message(CODE, f"run.allocator has no effect here: {text}")
    elif run.allocator and settings_of(run.allocator) == AllocatorSettings():
        yield Message(
            CODE, f"run.allocator {run.allocator} has no effect: runs have no limit at which it acts"
        )
    is_view, is_by_default = (version < LINEAR_IS_VIEW_BEFORE for version in (run.torch_version, DEFAULT))
    copies = run.mode == "training" and is_view != is_by_default
    if run.torch_version != DEFAULT and run.attention == "eager" and not on_cuda and not copies:
        text = (
            "it decides which kernels sdpa and fused attention run, what gradients autograd copies, and the workspaces of "
            "cuBLAS on a CUDA device: use run.attention sdpa or run.mode training, or add --device, such as --device a100_80"
        )
        yield Message(CODE, f"run.torch {run.torch} has no effect here: {text}")
    yield from _of_fsdp(run)
    if not run.tf32:
        return
    if run.product_dtype != "float32":
        yield Message(
            CODE, f"run.tf32 has no effect: it is of float32 products, and these are {run.product_dtype}"
        )
    elif not has_times:
        yield Message(CODE, "run.tf32 has no effect here: it changes times, and there are none")


def _of_fsdp(run: RunConfig) -> Iterator[Message]:
    """The types of a policy that are those without it."""
    if not run.is_fsdp:
        return
    if run.param_dtype == run.dtype:
        yield Message(CODE, f"run.param_dtype {run.dtype} has no effect: it is the type of the weights")
    if run.reduce_dtype == replace(run, reduce_dtype="none").reduces_in:
        yield Message(
            CODE,
            f"run.reduce_dtype {run.reduce_dtype} has no effect: gradients are reduced in this type without it",
        )
