"""A choice as the report has it."""

from __future__ import annotations

from dataclasses import asdict

from ...reports.plan import PlanChoice
from .evaluate import Trial
from .goal import Goal

MS_PER_HOUR = 3.6e6
MS_PER_SECOND = 1e3
THOUSAND = 1000


def choice_of(trial: Trial, goal: Goal, *, is_front: bool) -> PlanChoice:
    """A choice with what was worked out for it."""
    setting, run = trial.setting, trial.config.run
    used = trial.used if trial.is_replayed else None
    device, step_ms = trial.card.device, trial.step_ms
    cost = None if device is None else _cost(goal.prices.get(device.name), goal.gpus, step_ms)
    return PlanChoice(
        device="" if device is None else device.name,
        strategy=setting.strategy,
        precision=setting.precision,
        checkpointing=setting.checkpointing,
        attention=run.attention,
        batch_size=run.batch_size,
        accumulate=run.accumulate,
        set=setting.set,
        fits=trial.fits,
        least_bytes=max(trial.least_bytes, trial.known_bytes or 0),
        live_bytes=trial.known_bytes,
        allocated_bytes=None if used is None else used.allocated_bytes,
        reserved_bytes=None if used is None else used.reserved_bytes,
        missing_bytes=trial.missing_bytes,
        memory={} if used is None or used.kinds is None else asdict(used.kinds),
        peak_at=_peak_at(trial),
        refused=used.refused if used else "",
        recomputed_flops=trial.recomputed_flops,
        sent_bytes=trial.sent_bytes,
        step_ms=step_ms,
        compute_ms=trial.compute_ms,
        recompute_ms=trial.recompute_ms,
        communication_ms=trial.communication_ms,
        images_per_s=None if step_ms is None else goal.global_batch / step_ms * MS_PER_SECOND,
        cost_per_step=cost,
        cost_per_1000_images=None if cost is None else cost / goal.global_batch * THOUSAND,
        is_front=is_front,
    )


def _peak_at(trial: Trial) -> str:
    """The operation at the peak; "" if no peak was worked out."""
    if trial.is_replayed and trial.used.allocated_at:
        return trial.used.allocated_at
    return "" if trial.known_bytes is None else trial.passes.step.peak_at


def _cost(price: float | None, gpus: int, step_ms: float | None) -> float | None:
    """What a step costs on so many GPUs, of which each hour has a price."""
    return None if price is None or step_ms is None else price * gpus * step_ms / MS_PER_HOUR
