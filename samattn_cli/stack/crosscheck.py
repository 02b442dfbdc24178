"""Compares what the Tape derives with the real stack: parameters, fvcore, FlopCounterMode, traced memory, as integers.

By default one block of each kind is run, and its numbers stand for its twins. The twins are replaced by identities. That
changes nothing for other blocks, because a twin keeps the shape and the strides of its input. Twins are found by comparing
the real modules, not the config.

One inference forward is traced and counted by FlopCounterMode at once. If it runs every block, it also shows which blocks ran
the same operations on the same shapes and strides. fvcore, which takes ten times as long, then counts one block of each kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from threading import Lock

import torch
from torch import Tensor, nn

from ..encoder.implementations import implementation_of
from ..encoder.model import EncoderConfig
from ..encoder.outside import place_in_family
from ..encoder.registry import REFERENCE
from ..units import rounded
from ..verdicts import Check, ClaimedPass, Claims, Counts, CrossCheck, Difference
from .compare import compare_in_order, compare_parameters, compare_tables, verdict
from .count import count_with_flop_counter, count_with_fvcore
from .dynamo import without_dynamo
from .encoder import freeze, image_for, in_training_mode
from .fold import fold, folded, twins_among, twins_of, unfold, unfold_counts
from .implementation import build_implementation, of_another_version, unavailable
from .slices import NOTE
from .trace import CountedForward, PartTrace, trace_and_count, trace_forward, trace_training

NUMBERS = {"allocations": "allocated bytes", "live": "live bytes", "products": "FLOPs"}
"""What is compared operation by operation: the attribute of a claim and of a trace, and its name in reports."""

HOLDERS = (nn.ModuleList, nn.ModuleDict)
"""Containers of modules, which are never called: not every counter lists them."""

_ONE_AT_A_TIME = Lock()  # torch's tracer and FlopCounterMode keep state that threads share


def crosscheck(config: EncoderConfig, claims: Claims, *, every_layer: bool = False) -> CrossCheck:
    """Compare `claims` with what is counted and traced on the real stack of `config`.

    A torch release may break the meta device. FLOPs are then counted on real tensors, and the verdict's `route` says so;
    memory is traced on meta only. If that fails too, the verdict is "failed", with the reason.

    Args:
        config: the encoder.
        claims: what the Tape derives for it.
        every_layer: run every block instead of one of each kind.
    """
    untraced = unavailable(config)
    check = partial(_tried, config, claims, every_layer=every_layer, untraced=untraced)
    with _ONE_AT_A_TIME, torch.inference_mode(mode=False):
        with without_dynamo() as left_out:
            verdict = check()
            may_be_needed = any(module.is_in_place for module in left_out)
        return check() if verdict.status == "failed" and may_be_needed else verdict


def _tried(config: EncoderConfig, claims: Claims, *, every_layer: bool, untraced: Check | None) -> CrossCheck:
    try:
        return _crosscheck(config, claims, every_layer=every_layer, untraced=untraced)
    except Exception as error:  # noqa: BLE001 - if the stack cannot be built, the verdict says so
        return CrossCheck.not_run("failed", f"the real stack cannot be built: {_first_line(error)}")


def _crosscheck(
    config: EncoderConfig, claims: Claims, *, every_layer: bool, untraced: Check | None
) -> CrossCheck:
    reference = replace(config, implementation=REFERENCE)
    stack = _Stack(reference, "meta", every_layer)
    real = partial(_Stack, reference, "cpu", every_layer, stack.twins)  # built only if needed
    need = max(claims.peak_bytes.values())
    counted = _counted_forward(stack)
    by_flop_counter = partial(_flops, counted) if counted else count_with_flop_counter
    by_fvcore = partial(_count_kinds, _kinds(stack, counted))
    return CrossCheck(
        parameters=compare_parameters(claims.parameters, stack.parameters),
        fvcore=_attempt(partial(_compare_counts, claims.fvcore, by_fvcore), stack, real, need),
        flop_counter=_attempt(
            partial(_compare_counts, claims.flop_counter, by_flop_counter), stack, real, need
        ),
        memory_trace=untraced or _memory_trace(config, claims, stack, counted, every_layer=every_layer),
        layers_run=len(config.layers) - len(stack.twins),
    )


def _counted_forward(stack: _Stack) -> CountedForward | None:
    """A forward that feeds the trace and FlopCounterMode; None if it fails: then each has its own, and its own reason."""
    try:
        return trace_and_count(stack.model, stack.image, stack.weights_bytes)
    except Exception:  # noqa: BLE001 - a torch release may raise anything; what then fails alone says why
        return None


def _flops(counted: CountedForward, _model: nn.Module, _image: Tensor) -> Counts:
    return counted.counts


def _kinds(stack: _Stack, counted: CountedForward | None) -> dict[str, str]:
    """The twins among blocks that were all run: they were seen to run the same operations."""
    if counted is None or stack.twins:
        return {}
    return twins_among(stack.model, counted.streams, {name: part.ran for name, part in counted.parts.items()})


def _count_kinds(twins: Mapping[str, str], model: nn.Module, image: Tensor) -> Counts:
    """The counts of fvcore, in which twins have those of their originals."""
    with folded(model, twins):
        counts = count_with_fvcore(model, image)
    return unfold_counts(counts, twins)


def _memory_trace(
    config: EncoderConfig,
    claims: Claims,
    stack: _Stack,
    counted: CountedForward | None,
    *,
    every_layer: bool,
) -> Check:
    """The verdict on memory: of samattn's own stack, or of the library's model if the encoder has an implementation."""
    run, need = implementation_of(config), max(claims.peak_bytes.values())
    compare = partial(_compare_trace, config, claims)
    if run is None:
        forward = None if counted is None or config.run.keeps_graph else counted.parts
        return _attempt(partial(compare, forward), stack, None, need)
    compare = partial(compare, None)
    check = _attempt(compare, _Stack(config, "meta", every_layer), None, need)
    traced = f"of {run.model.model}, {run.model.library} {version(run.model.library)}"
    reasons = (traced, of_another_version(run), check.reason)
    return replace(check, reason="; ".join(filter(None, reasons)))


class _Stack:
    """The real encoder on a device, without twins unless `every_layer` is set, and an image for it.

    Args:
        config: the encoder.
        device: "meta", or "cpu" for real tensors.
        every_layer: run every block.
        twins: the blocks to leave out, if they are known.
    """

    def __init__(
        self, config: EncoderConfig, device: str, every_layer: bool, twins: Mapping[str, str] | None = None
    ) -> None:
        self.model = build_implementation(config, device)
        self.image = image_for(config, device)
        self.parameters = {name: tuple(weight.shape) for name, weight in self.model.named_parameters()}
        self.holders = {name for name, module in self.model.named_modules() if isinstance(module, HOLDERS)}
        resident = (*self.model.parameters(), *self.model.buffers())
        self.weights_bytes = sum(rounded(tensor.nbytes) for tensor in resident)
        if twins is None:
            runs_all = every_layer or bool(config.checkpointed_stages)  # a backward runs several blocks again
            twins = {} if runs_all else self._found_twins(config)
        self.twins = twins
        fold(self.model, twins)

    def _found_twins(self, config: EncoderConfig) -> dict[str, str]:
        """The twins where weights are frozen as in a training step. An inference forward is counted with the weights as made."""
        made = [(weight, weight.requires_grad) for weight in self.model.parameters()]
        twins = twins_of(freeze(self.model, config), self.image)
        for weight, requires_grad in made:
            weight.requires_grad_(requires_grad)
        return twins


def _attempt(
    compare: Callable[[_Stack], Check], stack: _Stack, real: Callable[[], _Stack] | None, need: int
) -> Check:
    """The verdict on meta tensors; else on real ones, if `need` bytes fit in memory; else "failed" with the reason."""
    try:
        return replace(compare(stack), route="meta")
    except Exception as error:  # noqa: BLE001 - a torch release may raise anything; the reason is always reported
        reason = f"on meta: {_first_line(error)}"
    if real is None:
        return Check("failed", reason=reason)
    if need > _physical_memory() // 2:
        return Check(
            "failed", reason=f"{reason}; real tensors need {need:,} bytes, more than half of the memory"
        )
    try:
        return replace(compare(real()), route="real")
    except Exception as error:  # noqa: BLE001 - if the check cannot run, the verdict says so
        return Check("failed", reason=f"{reason}; on real tensors: {_first_line(error)}")


def _compare_counts(claimed: Counts, count: Callable[[nn.Module, Tensor], Counts], stack: _Stack) -> Check:
    found = unfold_counts(count(stack.model, stack.image), stack.twins)
    derived, counted = (
        {module: kinds for module, kinds in counts.items() if module not in stack.holders}
        for counts in (claimed, found)
    )
    return compare_tables(derived, counted, sum(found.get("", {}).values()))


def _compare_trace(
    config: EncoderConfig, claims: Claims, forward: dict[str, PartTrace] | None, stack: _Stack
) -> Check:
    """`forward` is the trace of an inference forward, if there is one already."""
    grad = config.run.keeps_graph
    if grad:
        freeze(stack.model, config)
    if forward is None:
        forward = trace_forward(stack.model, stack.image, stack.weights_bytes, grad=grad)
    inference = unfold(forward, stack.twins)
    in_training_mode(freeze(stack.model, config), config)
    run = config.run
    training, backward, saved_bytes = trace_training(
        stack.model,
        stack.image,
        0,
        accumulates=run.accumulate > 1,
        moves=run.is_ddp and run.gradient_as_bucket_view,
    )
    saved = unfold(saved_bytes, stack.twins)
    peaks = _peaks(inference, claims.peak_bytes)
    found = {name: {"peak_bytes": peak, "saved_bytes": saved[name]} for name, peak in peaks.items()}
    wanted = {
        name: {"peak_bytes": peak, "saved_bytes": claims.saved_bytes[name]}
        for name, peak in claims.peak_bytes.items()
    }
    peak = max(peaks.values())
    sums = compare_tables(wanted, found, peak)
    sequences = [
        *_compare_pass("", claims.inference, inference, stack.twins),
        *_compare_pass(" in training", claims.training, training, stack.twins),
        *_compare_pass(" in backward", claims.backward, backward, stack.twins),
    ]
    differences = tuple(each for _, different in sequences for each in different)
    compared = sums.compared + sum(numbers for numbers, _ in sequences)
    traced = verdict(differences + sums.differences, compared, peak)
    return replace(traced, reason=traced.reason or NOTE)


def _peaks(parts: Mapping[str, PartTrace], order: Iterable[str]) -> dict[str, int]:
    """The peak of each part if all run in `order`: autocast's copies of a twin's weights stay live after it."""
    peaks = {name: part.peak_bytes for name, part in parts.items()}
    live = min(part.start_bytes for part in parts.values())
    for name in order:
        if name in parts:
            part = parts[name]
            peaks[name] = live + part.peak_bytes - part.start_bytes
            live += part.change
    return peaks


def _compare_pass(
    when: str, claimed: ClaimedPass, parts: Mapping[str, PartTrace], twins: Mapping[str, str]
) -> Iterator[tuple[int, list[Difference]]]:
    """Compare each allocation, the bytes live after it, each product, and the bytes that a part leaves live, in order.

    Each part gives how many numbers were compared, and those that differ. Twins that were not run are left out, unless
    `parts` has the numbers of their originals.
    """
    for name in dict.fromkeys((*claimed.change, *parts)):
        if name in twins and name not in parts:
            continue
        part = parts.get(name, PartTrace(0))
        wanted = {f"{unit}{when}": getattr(claimed, what).get(name, ()) for what, unit in NUMBERS.items()}
        found = {f"{unit}{when}": getattr(part, what) for what, unit in NUMBERS.items()}
        compared, different = compare_in_order(name, wanted, found)
        if claimed.change.get(name) != part.change:
            left = Difference(name, f"live bytes after it{when}", claimed.change.get(name), part.change)
            different.append(left)
        yield compared + 1, different


def _first_line(error: Exception) -> str:
    place = place_in_family(error)
    return f"{place and f'{place}: '}{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _physical_memory() -> int:
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 33
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
