"""Fits shares of a device's peaks to measured times, so that the roofline predicts these times.

A few factors (the share of peak of each kind of product, the share of bandwidth of each kind of traffic, the launch
overhead) are fitted to many measured times. A pattern search minimizes the sum of squared logarithms of predicted over
measured time (Hooke and Jeeves, Journal of the ACM 8(2), 1961); it needs no derivatives, and a maximum has none.
Measure layers of different shapes, because a factor that no time depends on cannot be fitted and is left out. Factors
are rounded to the digits of a device file. Fit on some cases and judge on others.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..encoder.model import RunConfig
from ..errors import UsageError
from ..records import replace
from ..tape.ops import Op
from .model import DIGITS, MOST_CACHED, Calibration, Device, ProductShares, TrafficShares
from .roofline import US_PER_MS, layer_time, memory_ms, product_ms, product_share, traffic_share, vector_ms

CASES_PER_FACTOR = 2
LAUNCH = "launch_overhead_us"
START_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""A search may stop at a local minimum, so there are several, from different starts."""

MOST = {
    **{field.name: 0.0 for field in fields(ProductShares)},
    **{field.name: math.log(MOST_CACHED) for field in fields(TrafficShares)},
}
"""The largest logarithm of each share: nothing exceeds its peak, except through a cache."""

LEAST_LAUNCH = math.log(0.01)
"""The smallest logarithm of the launch overhead in us: if the best overhead is 0, the search would never end."""

FIRST_STEP, LAST_STEP = math.log(2), 1e-5  # of the logarithm of a factor
GAIN = 1e-8
"""The least share of the loss that a step must save: along a narrow valley there are millions that save less."""

NUDGE = math.log(1.2)
NO_EFFECT = 1e-4  # root mean square of the change of the logarithms of the times

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.intp]]
Factors = dict[str, float]
"""Logarithms of the factors: shares by their names in a device file, and `LAUNCH`. In a fit all have one order."""


@dataclass(frozen=True)
class Case:
    """Operations that ran one after another, such as a layer, and the milliseconds that they took."""

    ops: Sequence[Op]
    measured_ms: float


@dataclass(frozen=True)
class _Kernel:
    """What the time of a kernel depends on: its times at the peaks, and the factors to divide them by."""

    product_ms: float
    vector_ms: float
    memory_ms: float
    compute: str
    memory: str


@dataclass(frozen=True)
class _Timed:
    """Cases with the same kernels: the number of each kernel, the geometric mean of their times, the number of cases."""

    kernels: Counter[_Kernel]
    measured_ms: float
    cases: int


@dataclass(frozen=True, eq=False)
class _Times:
    """All cases as arrays, with one entry for each different kernel, or for each of `timed`.

    Attributes:
        timed: the cases.
        names: the factors that the times depend on, in their order in each `Factors`.
        product_ms, vector_ms, memory_ms: times at the peaks.
        compute, memory: the places in `names` of the factors to divide them by; the place after the last means 1.
        counts: (cases, kernels): the number of each kernel in each case.
        measured_ms: the measured time of each case.
        cases: the number of cases that each of `timed` merges.
    """

    timed: tuple[_Timed, ...]
    names: tuple[str, ...]
    product_ms: Array
    vector_ms: Array
    memory_ms: Array
    compute: Places
    memory: Places
    counts: Array
    measured_ms: Array
    cases: Array

    @classmethod
    def of(cls, timed: Iterable[_Timed]) -> _Times:
        timed = tuple(timed)
        kernels = list(dict.fromkeys(kernel for case in timed for kernel in case.kernels))
        names = (*sorted({name for kernel in kernels for name in _names(kernel)}), LAUNCH)
        places = {name: place for place, name in enumerate(names)}
        return cls(
            timed,
            names,
            np.array([kernel.product_ms for kernel in kernels]),
            np.array([kernel.vector_ms for kernel in kernels]),
            np.array([kernel.memory_ms for kernel in kernels]),
            np.array([places.get(kernel.compute, len(names)) for kernel in kernels]),
            np.array([places[kernel.memory] for kernel in kernels]),
            np.array([[case.kernels[kernel] for kernel in kernels] for case in timed], dtype=float),
            np.array([case.measured_ms for case in timed]),
            np.array([case.cases for case in timed], dtype=float),
        )

    def errors(self, factors: Factors) -> Array:
        """For each of `timed`, the logarithm of predicted over measured time."""
        shares = np.exp([*factors.values(), 0.0])  # the last is 1, for a kernel without a product
        products_ms, traffic_ms = self.product_ms / shares[self.compute], self.memory_ms / shares[self.memory]
        busy_ms = np.maximum(np.maximum(products_ms, self.vector_ms), traffic_ms)
        each_ms = busy_ms + math.exp(factors[LAUNCH]) / US_PER_MS
        return np.asarray(np.log(self.counts @ each_ms / self.measured_ms))

    def loss(self, factors: Factors) -> float:
        """The sum of the squares of the errors; infinite if a factor is impossible."""
        if factors[LAUNCH] < LEAST_LAUNCH:
            return math.inf
        if any(factors[name] > most for name, most in MOST.items() if name in factors):
            return math.inf
        return float(self.cases @ self.errors(factors) ** 2)


def calibrate(cases: Iterable[Case], device: Device, run: RunConfig, recorded_on: str) -> Calibration:
    """Fit the factors of a device to measured times.

    Args:
        cases: what ran, and how long it took.
        device: its datasheet; an existing calibration does not matter.
        run: how the cases ran.
        recorded_on: the device, driver, torch and date of the measurement.

    Returns:
        The factors; a factor that no time depends on is None.

    Raises:
        UsageError: if there are too few cases, a time is not above 0, or the device has no units for the run.
    """
    times = _Times.of(_merged((_kernels(case.ops, device, run), case.measured_ms) for case in cases))
    _check(times)
    datasheet = {**dict.fromkeys(times.names, 0.0), LAUNCH: math.log(device.launch_overhead_us)}
    factors = _fit(times, datasheet)
    fitted = {
        name: float(f"{math.exp(value):.{DIGITS}g}")
        for name, value in factors.items()
        if _matters(times, factors, datasheet, name)
    }
    return Calibration(
        recorded_on=recorded_on,
        compute=_pick(ProductShares, fitted),
        memory=_pick(TrafficShares, fitted),
        launch_overhead_us=fitted.get(LAUNCH),
    )


def relative_errors(cases: Iterable[Case], device: Device, run: RunConfig) -> list[float]:
    """For each case, predicted over measured time, less 1. Judge a calibration on cases that it was not fitted to."""
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
        if op.is_kernel
    )


def _names(kernel: _Kernel) -> list[str]:
    return [kernel.memory, *([kernel.compute] if kernel.product_ms else [])]


def _merged(cases: Iterable[tuple[Counter[_Kernel], float]]) -> list[_Timed]:
    """Cases with the same kernels merged into one: the sum of squared errors has its minimum at the same factors."""
    merged: dict[frozenset[tuple[_Kernel, int]], list[float]] = defaultdict(list)
    for kernels, measured_ms in cases:
        if not measured_ms > 0:
            raise UsageError("time-not-positive", "a calibration needs measured times above 0 ms")
        merged[frozenset(kernels.items())].append(math.log(measured_ms))
    return [
        _Timed(Counter(dict(key)), math.exp(sum(logs) / len(logs)), len(logs)) for key, logs in merged.items()
    ]


def _check(times: _Times) -> None:
    different, needed = len(times.timed), CASES_PER_FACTOR * len(times.names)
    if different < needed:
        what = f"{len(times.names)} factors ({', '.join(times.names)})"
        message = f"a calibration of {what} needs at least {needed} different cases, not {different}"
        raise UsageError("too-few-cases", message)


def _fit(times: _Times, datasheet: Factors) -> Factors:
    """The best factors that searches from several starts find."""
    launch = {LAUNCH: max(datasheet[LAUNCH], LEAST_LAUNCH)}
    starts = [{**dict.fromkeys(datasheet, math.log(share)), **launch} for share in START_SHARES]
    return min((_search(times.loss, start) for start in starts), key=times.loss)


def _search(loss: Callable[[Factors], float], start: Factors) -> Factors:
    """The pattern search: a better neighbour along each axis, then a leap in the same direction; else a smaller step."""
    base, step = start, FIRST_STEP
    while step > LAST_STEP:
        best = _explore(loss, base, step)
        if best == base:
            step /= 2
        while best != base:
            leap = {name: 2 * best[name] - base[name] for name in best}
            landed = _explore(loss, leap, step)
            base, best = best, landed if loss(landed) < loss(best) * (1 - GAIN) else best
    return base


def _explore(loss: Callable[[Factors], float], factors: Factors, step: float) -> Factors:
    """The best factors after a step along each axis in turn."""
    least = loss(factors)
    for name in factors:
        for change in (step, -step):
            stepped = {**factors, name: factors[name] + change}
            if (lower := loss(stepped)) < least * (1 - GAIN):
                factors, least = stepped, lower
                break
    return factors


def _matters(times: _Times, factors: Factors, datasheet: Factors, name: str) -> bool:
    """Whether the times depend on a factor: both a smaller and a larger value change them, or the datasheet's value does.

    If only one of the two changes them, the times only give a bound on the factor. The factor still matters if the
    datasheet's value, which would replace it, changes the times.
    """
    here = factors[name]
    return _changes(times, factors, name, datasheet[name]) or all(
        _changes(times, factors, name, nudged) for nudged in (here + NUDGE, here - NUDGE)
    )


def _changes(times: _Times, factors: Factors, name: str, value: float) -> bool:
    change = times.errors({**factors, name: value}) - times.errors(factors)
    return bool(math.sqrt(times.cases @ change**2 / times.cases.sum()) >= NO_EFFECT)


def _pick(shares: type, fitted: Factors) -> Any:
    """An object of a class of shares, with those that were fitted."""
    return shares(**{field.name: fitted[field.name] for field in fields(shares) if field.name in fitted})
