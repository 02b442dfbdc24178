"""Figures of GPU memory that others published, predicted: `samattn verify --published`.

The whole of SAM is its encoder with the decoder's weights and what segment-anything-fast's script holds. A detector or
segmenter is what the encoder holds when its forward is over, and a constant for the head, which is fitted on one size and
judged on the others. Nothing else is fitted. The kernels are those of an A100 where a group does not name its card, the rules those
of torch `TORCH`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from .. import published_memory as data
from ..encoder.model import EncoderConfig
from ..files.load import load_config
from ..published_memory import Bound, Printed, PrintedGroup
from ..records import replace
from ..reports.published_memory import PublishedGroup, PublishedMemory, PublishedRow
from ..tape.inside import Cuda
from .on_device import cuda_of, replayed
from .passes import Passes
from .published_runs import before_head_bytes, whole_sam_bytes

TORCH = "run.torch=2.14"
"""The last release whose cuBLAS keeps its workspaces. The figures are of earlier ones, or do not say which."""


class Predicted(NamedTuple):
    """What is predicted of a row: what the encoder takes, and what runs next to it."""

    encoder: int
    beside: int

    @property
    def whole(self) -> int:
        """Both."""
        return self.encoder + self.beside


def published_memory() -> PublishedMemory:
    """Every published figure, with its prediction."""
    rows = {group.name: _rows(group) for group in data.groups()}
    return PublishedMemory(
        groups=tuple(_judged(group, rows[group.name]) for group in data.groups()),
        rows=tuple(row for of_group in rows.values() for row in of_group),
    )


def _rows(group: PrintedGroup) -> tuple[PublishedRow, ...]:
    predicted = [_predicted(group, row) for row in group.rows]
    if group.predicts != "head":
        return tuple(map(_row, [group] * len(predicted), group.rows, predicted))
    first = predicted[0]
    constant = group.nbytes(group.rows[0].figure) - first.encoder if first else 0
    fitted = [each and each._replace(beside=constant) for each in predicted]
    return _with_steps(
        [
            replace(row, is_fitted=not number, error=row.error if number else None)
            for number, row in enumerate(map(_row, [group] * len(fitted), group.rows, fitted))
        ]
    )


def _predicted(group: PrintedGroup, row: Printed) -> Predicted | None:
    if group.predicts == "nothing":
        return None
    keys = (*group.keys, *row.keys)
    if group.predicts == "head":
        return Predicted(_before_head(row.preset, keys), 0)
    alone = _alone(row.preset, keys, group.card)
    if group.predicts == "encoder":
        return Predicted(alone, 0)
    return Predicted(alone, _whole_sam(row.preset, keys) - alone)


@cache
def _before_head(preset: str, keys: tuple[str, ...]) -> int:
    return before_head_bytes(_config(preset, keys), Cuda())


@cache
def _alone(preset: str, keys: tuple[str, ...], card: str) -> int:
    return replayed(Passes(_config(preset, keys)), _cuda(card)).allocated


def _config(preset: str, keys: tuple[str, ...]) -> EncoderConfig:
    return load_config(preset, (*keys, TORCH))


def _cuda(card: str) -> Cuda:
    """The card of a group; an A100 where it names none."""
    if not card:
        return Cuda()
    from ..device.load import load_device

    return cuda_of(load_device(card, "card")) or Cuda()


@cache
def _whole_sam(preset: str, keys: tuple[str, ...]) -> int:
    return whole_sam_bytes(_config(preset, keys), data.whole_sam(), Cuda())


def _row(group: PrintedGroup, row: Printed, predicted: Predicted | None) -> PublishedRow:
    published = group.nbytes(row.figure)
    return PublishedRow(
        group=group.name,
        model=row.model,
        preset=row.preset,
        keys=(*group.keys, *row.keys),
        title=row.source.title,
        address=row.source.address,
        seen=row.source.seen,
        torch=row.torch or group.torch,
        device=group.device,
        includes=group.includes,
        figure=row.figure,
        unit=group.unit,
        unit_bytes=group.unit_bytes,
        published_bytes=published,
        encoder_bytes=predicted and predicted.encoder,
        beside_bytes=predicted and predicted.beside,
        predicted_bytes=predicted and predicted.whole,
        is_fitted=False,
        error=predicted and (predicted.whole - published) / published,
        step_bytes=None,
        published_step_bytes=None,
    )


def _with_steps(rows: Sequence[PublishedRow]) -> tuple[PublishedRow, ...]:
    """Rows of one head, with what each has more than the row before."""
    return (
        rows[0],
        *(
            replace(
                row,
                step_bytes=(row.predicted_bytes or 0) - (before.predicted_bytes or 0),
                published_step_bytes=row.published_bytes - before.published_bytes,
            )
            for before, row in pairwise(rows)
        ),
    )


def _judged(group: PrintedGroup, rows: Sequence[PublishedRow]) -> PublishedGroup:
    sizes = [abs(row.error) for row in rows if row.error is not None]
    bound = group.bound or Bound()
    report = PublishedGroup(
        name=group.name,
        title=group.title,
        predicts=group.predicts,
        rows=len(rows),
        compared=len(sizes),
        median=median(sizes) if sizes else None,
        worst=max(sizes, default=None),
        is_judged=group.bound is not None,
        most_median=bound.median,
        most_worst=bound.worst,
        most_step_bytes=None if bound.step is None else group.nbytes(bound.step),
        unit=group.unit,
        unit_bytes=group.unit_bytes,
        is_within=True,
        unknown=group.unknown,
    )
    return replace(report, is_within=_is_within(report, rows))


def _is_within(group: PublishedGroup, rows: Sequence[PublishedRow]) -> bool:
    """Whether a group is within its bound; one that could not be compared is not."""
    if not group.is_judged:
        return True
    if group.median is None or group.worst is None:
        return False
    asked = ((group.median, group.most_median), (group.worst, group.most_worst), *_steps(group, rows))
    return all(most is None or value <= most for value, most in asked)


def _steps(group: PublishedGroup, rows: Sequence[PublishedRow]) -> list[tuple[float, float | None]]:
    """How far each step is from the published one, and how far it may be."""
    return [
        (abs(row.step_bytes - row.published_step_bytes), group.most_step_bytes)
        for row in rows
        if row.step_bytes is not None and row.published_step_bytes is not None
    ]
