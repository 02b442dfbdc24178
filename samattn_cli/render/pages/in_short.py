"""The answer of an analysis in short: what it costs, its peak, whether it fits, what fixes it, whether it was checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...encoder.model import EncoderConfig
from ...figures import PEAKS
from ...reports.analysis import Analysis, Change, DeviceReport, MemoryReport, layer_of
from ...shell import command
from ...shell import options as options_of
from ...units import format_bytes, format_count, format_ms, format_ratio, format_size
from ...verdicts import CrossCheck
from ..crosscheck import CHECK_NAMES
from ..elements import BAD, CAUTION, GOOD, Answer
from ..options import Options
from .analysis_evidence import at_best, missing_of

INDENT = 2
NARROW = 80
CHECKPOINT = "checkpoint(block, x, use_reentrant=False)"
IN_PYTORCH = {
    "run.attention=fused": "q, k = cat(q, rel_h/s, rel_w/s), cat(k, one_hot); "
    "F.scaled_dot_product_attention(q, k, v, scale=s)",
    "run.dtype=bfloat16": "model.bfloat16() and images.bfloat16()",
    "run.autocast=bfloat16": 'forward and loss under torch.autocast("cuda", torch.bfloat16)',
    "run.param_dtype=bfloat16": "fully_shard(..., mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))",
    "run.checkpointing=true": CHECKPOINT,
    "run.checkpointing=global": f"{CHECKPOINT} per global block",
    "implementation=reference": "run the code of the original authors instead of the library's",
}
"""What to do in PyTorch for a setting of a change."""

FOLDED = "fold rel_pos into q, k of F.scaled_dot_product_attention"
"""Fused attention, where it is one of two changes."""
SDPA = "F.scaled_dot_product_attention(q, k, v{mask}) instead of softmax(q @ k.T) @ v"
SHOWING = ("--no-verify", "--verify", "--brief", "--full", "--all")
"""Options of the command that do not change the answer."""
FILES = ("-o", "--output", "--snapshot")
"""Options that write a file."""
OPTIONS = ("run.attention", "run.dtype", "run.autocast", "implementation")
"""Keys with an option of their own, which counts more than --set for them."""


def in_short(report: Analysis, options: Options) -> Iterator[Answer]:
    """At most seven lines at 80 columns, if names are not long."""
    yield Answer(_cost(report))
    yield Answer(_peak(report, options.width))
    room = report.device or report.memory
    if room is not None:
        yield _fits(room, report)
    if report.fix is not None:
        yield from _fix(report.fix, report.config, options)
    yield _checked(report.crosscheck, options)


def _cost(report: Analysis) -> str:
    """Parameters and FLOPs, and the FLOPs of the all-global encoder."""
    config, totals, other = report.config, report.totals, report.comparison.vs_all_global
    params, of = ("params", " forward") if config.run.mode == "training" else ("parameters", "")
    flops = f"{format_count(totals.params)} {params}, {format_count(totals.flops, 'FLOP')}{of}"
    against = "" if other.flops == totals.flops else f" (all global: {format_ratio(other.flops_ratio)})"
    return f"{format_size(config.image_size)}, batch {config.run.batch_size}: {flops}{against}"


def _peak(report: Analysis, width: int) -> str:
    """The peak of the run's mode, and the operation that sets it; that of the other mode where a line has room for it."""
    mode, totals = report.config.run.mode, report.totals
    at = totals.training_at if mode == "training" else totals.peak_at
    other = "inference" if mode == "training" else "training"
    own = f"peak in {mode} {format_bytes(getattr(totals, PEAKS[mode]))} at {_short(at)}"
    both = f"{own}; {other} {format_bytes(getattr(totals, PEAKS[other]))}"
    return both if len(both) + INDENT <= max(width, NARROW) else own


def _short(operation: str) -> str:
    """An operation without the words that say that it is of the backward, if its name says that too."""
    return operation.replace(".grad_input (backward)", ".grad_input")


def _fits(room: DeviceReport | MemoryReport, report: Analysis) -> Answer:
    """Whether it fits, what is missing, and the first layer that is too large; on a device that it fits, the time."""
    where = room.name if isinstance(room, DeviceReport) else format_bytes(room.usable_bytes)
    if room.refused:
        return Answer(f" on {where}, whatever the memory: {room.refused}", BAD, "does not run")
    time = ""
    if isinstance(room, DeviceReport):
        time = f"; {format_ms(report.training.step_ms or room.latency_ms)} {_of_what(report)}{at_best(room)}"
    if room.fits:
        return Answer(f" {_in(room)}, with {format_bytes(room.spare_bytes)} to spare{time}", GOOD, "fits")
    first = ""
    if room.too_large:  # a report of an older samattn does not say where it stops
        first = f", first in {layer_of(room.stopped_at or room.too_large[0], room.too_large)}"
    return Answer(f" {_in(room)}: {missing_of(room)}{first}", BAD, "does not fit")


def _in(room: DeviceReport | MemoryReport) -> str:
    usable = format_bytes(room.usable_bytes)
    return f"{room.name} ({usable})" if isinstance(room, DeviceReport) else f"in {usable}"


def _of_what(report: Analysis) -> str:
    return "a pass" if report.training.step_ms is None else "a step"


def _fix(fix: Change, config: EncoderConfig, options: Options) -> Iterator[Answer]:
    """The change as a command, and as what to do in PyTorch."""
    yield Answer(f"{fix.change}: {_taken_by(fix)}, fits", command=_with(options.command, fix.set))
    how = "; ".join(_in_pytorch(fix, config))
    yield Answer(f"fits ({_taken_by(fix)}). PyTorch: {how}")


def _taken_by(fix: Change) -> str:
    """What a run with a change takes, as `samattn fit` counts: of a CUDA device what its allocator hands out."""
    if fix.allocated_bytes is None:
        return format_bytes(fix.peak_bytes)
    return f"{format_bytes(fix.allocated_bytes)} allocated"


def _in_pytorch(fix: Change, config: EncoderConfig) -> Iterator[str]:
    if not fix.keeps_model:
        yield "give every block a window, and train again: it is another model"
    for setting in fix.set:
        if setting == "run.attention=fused" and len(fix.set) > 1:
            yield FOLDED
        elif setting == "run.attention=sdpa":
            has_bias = any(stage.rel_pos != "none" for stage in config.stages)
            yield SDPA.format(mask=", attn_mask=bias" if has_bias else "")
        elif setting in IN_PYTORCH:
            yield IN_PYTORCH[setting]


def _with(words: Sequence[str], settings: Sequence[str]) -> str:
    """The command with settings; the settings alone if no command made the report."""
    if not words:
        return options_of("--set", settings)
    without = (*SHOWING, *(("--no-checkpointing",) if "checkpointing" in " ".join(settings) else ()))
    words = [word for word in _without_files(words) if word not in without]
    return command(*words, *(word for setting in settings for word in _option(setting)))


def _without_files(words: Sequence[str]) -> Iterator[str]:
    """The words of a command without the files that it writes, so that another run does not replace them."""
    is_file = False
    for word in words:
        is_option = word.startswith("-o") or word.partition("=")[0] in FILES
        if not is_option and not is_file:
            yield word
        is_file = word in FILES


def _option(setting: str) -> tuple[str, ...]:
    key, _, value = setting.partition("=")
    name = f"--{key.removeprefix('run.')}"
    if key == "run.checkpointing":
        return (name,) if value == "true" else (f"{name}={value}",)
    return (name, value) if key in OPTIONS else ("--set", setting)


def _checked(crosscheck: CrossCheck, options: Options) -> Answer:
    """The outcome of the cross-check; if it was not made, how to make it."""
    names = {
        status: [CHECK_NAMES[name] for name, check in crosscheck.checks.items() if check.status == status]
        for status in ("exact", "differs", "failed", "skipped")
    }
    if crosscheck.status == "exact":
        cost = f" ({options.verify})" if options.verify else ""
        return Answer(f": counts and memory equal those of the real PyTorch stack{cost}", GOOD, "exact")
    if crosscheck.status == "differs":
        return Answer(f" from the real PyTorch stack: {', '.join(names['differs'])} (below)", BAD, "differs")
    if crosscheck.status == "failed":
        return Answer(f": {', '.join(names['failed'])} (below)", BAD, "the cross-check failed")
    if names["exact"]:
        return Answer(
            f": {', '.join(names['exact'])}; not {', '.join(names['skipped'])} (below)",
            CAUTION,
            "exact in part",
        )
    how = options.verify or crosscheck.parameters.reason
    return Answer(f": {how}", CAUTION, "not cross-checked")
