"""Shares of a device's peaks from measured times, so that the roofline says what was measured.

A few factors (the share of peak of each kind of product, the share of bandwidth of each kind of traffic, the launch
overhead) are fitted to many measured times: the sum of squared logarithms of predicted over measured time is made
small by a pattern search (Hooke and Jeeves, Journal of the ACM 8(2), 1961), which needs no derivatives, as a
maximum has none. Measure layers of different shapes: a factor that no time depends on cannot be found, and is left
out. Fit on some cases and judge on others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..config.device import MOST_CACHED, Calibration, Device, ProductShares, TrafficShares
from ..config.model import RunConfig
from ..errors import UsageError
from .ops import Op
from .roofline import US_PER_MS, layer_time, memory_ms, product_ms, product_share, traffic_share, vector_ms

CASES_PER_FACTOR = 2
LAUNCH = "launch_overhead_us"
START_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""A search may end where only a leap would help, so that several are made."""

MOST = {
    **{field.name: 0.0 for field in fields(ProductShares)},
    **{field.name: math.log(MOST_CACHED) for field in fields(TrafficShares)},
}
"""The largest logarithm of each share: nothing does more than its peak, unless a cache helps."""

FIRST_STEP, LAST_STEP = math.log(2), 1e-5  # of the logarithm of a factor
NUDGE = math.log(1.2)
NO_EFFECT = 1e-4  # root mean square of the change of the logarithms of the times

Factors = dict[str, float]
"""Logarithms of the factors: shares by their names in a device file, and `LAUNCH`."""


@dataclass(frozen=True)
class Case:
    """Operations that were run one after another, such as a layer, and the milliseconds that they took."""

    ops: Sequence[Op]
    measured_ms: float


@dataclass(frozen=True)
class _Kernel:
    """What the time of a kernel depends on: times at the peaks, and the factors that they are divided by."""

    product_ms: float
    vector_ms: float
    memory_ms: float
    compute: str
    memory: str

    def ms(self, factors: Factors) -> float:
        """Its time, without launch."""
        product_ms = self.product_ms / math.exp(factors[self.compute]) if self.product_ms else 0.0
        return max(product_ms, self.vector_ms, self.memory_ms / math.exp(factors[self.memory]))


_Timed = tuple[Counter[_Kernel], float]


def calibrate(cases: Iterable[Case], device: Device, run: RunConfig, recorded_on: str) -> Calibration:
    """Fit the factors of a device to measured times.

    Args:
        cases: what was run, and how long it took.
        device: its datasheet; what is calibrated of it does not matter.
        run: how the cases were run.
        recorded_on: the device, driver, torch and date of the measurement.

    Returns:
        The factors; one that no time depends on is None.

    Raises:
        UsageError: if there are too few cases, or a time is not above 0.
    """
    timed = [(_kernels(case.ops, device, run), case.measured_ms) for case in cases]
    names = sorted({name for kernels, _ in timed for kernel in kernels for name in _names(kernel)})
    _check(timed, [*names, LAUNCH])
    factors = _fit(timed, names, math.log(device.launch_overhead_us))
    found = {name: math.exp(value) for name, value in factors.items() if _matters(timed, factors, name)}
    return Calibration(
        recorded_on=recorded_on,
        compute=_pick(ProductShares, found),
        memory=_pick(TrafficShares, found),
        launch_overhead_us=found.get(LAUNCH),
    )


def relative_errors(cases: Iterable[Case], device: Device, run: RunConfig) -> list[float]:
    """Of each case the predicted over the measured time, less 1: judge a calibration on cases it was not fitted to."""
    return [layer_time(case.ops, device, run).ms / case.measured_ms - 1 for case in cases]


def with_calibration(device: Device, unit: str, measured: Calibration) -> Device:
    """The device with what was measured in runs on one of its units."""
    return replace(device, calibrated=replace(device.calibrated, **{unit: measured}))


def _kernels(ops: Iterable[Op], device: Device, run: RunConfig) -> Counter[_Kernel]:
    return Counter(
        _Kernel(
            product_ms(op, device, run),
            vector_ms(op, device),
            memory_ms(op, device),
            product_share(op.kind),
            traffic_share(op.kind),
        )
        for op in ops
        if op.kind != "free"
    )


def _names(kernel: _Kernel) -> list[str]:
    return [kernel.memory, *([kernel.compute] if kernel.product_ms else [])]


def _check(timed: Sequence[_Timed], names: Sequence[str]) -> None:
    if any(not measured > 0 for _, measured in timed):
        raise UsageError("a calibration needs measured times above 0 ms")
    different = len({frozenset(kernels.items()) for kernels, _ in timed})
    needed = CASES_PER_FACTOR * len(names)
    if different < needed:
        what = f"{len(names)} factors ({', '.join(names)})"
        raise UsageError(f"a calibration of {what} needs at least {needed} different cases, not {different}")


def _errors(timed: Sequence[_Timed], factors: Factors) -> list[float]:
    """Of each case the logarithm of its predicted over its measured time."""
    launch_ms = math.exp(factors[LAUNCH]) / US_PER_MS
    return [
        math.log(
            sum(count * (kernel.ms(factors) + launch_ms) for kernel, count in kernels.items()) / measured
        )
        for kernels, measured in timed
    ]


def _loss(timed: Sequence[_Timed], factors: Factors) -> float:
    if any(factors[name] > most for name, most in MOST.items() if name in factors):
        return math.inf
    return sum(error * error for error in _errors(timed, factors))


def _fit(timed: Sequence[_Timed], names: Sequence[str], launch: float) -> Factors:
    """The best that searches from several starts find."""
    starts = ({**dict.fromkeys(names, math.log(share)), LAUNCH: launch} for share in START_SHARES)
    ends = (_search(lambda factors: _loss(timed, factors), start) for start in starts)
    return min(ends, key=lambda factors: _loss(timed, factors))


def _search(loss: Callable[[Factors], float], start: Factors) -> Factors:
    """Hooke and Jeeves: better neighbours along each axis, then a leap the same way; a smaller step if there are none."""
    base, step = start, FIRST_STEP
    while step > LAST_STEP:
        best = _explore(loss, base, step)
        if best == base:
            step /= 2
        while best != base:
            leap = {name: 2 * best[name] - base[name] for name in best}
            landed = _explore(loss, leap, step)
            base, best = best, landed if loss(landed) < loss(best) else best
    return base


def _explore(loss: Callable[[Factors], float], factors: Factors, step: float) -> Factors:
    """The best that steps along one axis after another lead to."""
    least = loss(factors)
    for name in factors:
        for change in (step, -step):
            stepped = {**factors, name: factors[name] + change}
            if loss(stepped) < least:
                factors, least = stepped, loss(stepped)
                break
    return factors


def _matters(timed: Sequence[_Timed], factors: Factors, name: str) -> bool:
    """Whether the times depend on a factor: both a smaller and a larger one change them."""
    found = _errors(timed, factors)
    for change in (NUDGE, -NUDGE):
        nudged = _errors(timed, {**factors, name: factors[name] + change})
        squares = [(there - here) ** 2 for here, there in zip(found, nudged, strict=True)]
        if math.sqrt(sum(squares) / len(squares)) < NO_EFFECT:
            return False
    return True


def _pick(shares: type, found: Factors) -> Any:
    """The shares of a class that were found."""
    return shares(**{field.name: found[field.name] for field in fields(shares) if field.name in found})
