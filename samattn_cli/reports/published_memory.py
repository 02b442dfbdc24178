"""Predicted memory next to figures that others published: the answer of `samattn verify --published`.

An error is (predicted - published) / published.
"""

from __future__ import annotations

from typing import Literal

from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published figure, and what samattn predicts.

    Attributes:
        group: the name of its group.
        model: the model, and what the source calls the run.
        preset, keys: the config that is predicted: a preset, and what is set on top of it.
        title, address, seen: where the figure was published, and the version that was read.
        torch, device, includes: as the source says, or "not printed".
        figure, unit: as printed.
        unit_bytes: a unit as it is read: "GB" in logs of OpenMMLab and detectron2 is 1,000 MiB.
        published_bytes: the figure in bytes.
        encoder_bytes: what the encoder takes; None where nothing is predicted.
        beside_bytes: what runs next to it: SAM's decoder, or the constant of a head; None where nothing is predicted.
        predicted_bytes: both; None where nothing is predicted.
        is_fitted: whether the constant is fitted on this row, so that its error says nothing.
        error: None where nothing is predicted or the row is fitted.
        step_bytes: how much more is predicted than in the row before, of a group with a head; else None.
        published_step_bytes: how much more is published.
    """

    group: str
    model: str
    preset: str
    keys: tuple[str, ...]
    title: str
    address: str
    seen: str
    torch: str
    device: str
    includes: str
    figure: str
    unit: str
    unit_bytes: int
    published_bytes: int
    encoder_bytes: int | None
    beside_bytes: int | None
    predicted_bytes: int | None
    is_fitted: bool
    error: float | None
    step_bytes: int | None
    published_step_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class PublishedGroup:
    """Figures of one setting.

    Attributes:
        name, title: what it is called in JSON, and on a page.
        predicts: "whole_sam", "head" (a constant fitted on the first row), "encoder" (alone) or "nothing".
        rows: how many figures it has.
        compared: how many of them have an error.
        median, worst: of the sizes of the errors; None if there are none.
        is_judged: whether the group has a bound.
        most_median, most_worst: the bound of the errors; None if there is none.
        most_step_bytes: how far a predicted step may be from the published one; None if steps are not judged.
        unit, unit_bytes: of the figures, as printed and as it is read.
        is_within: whether the group is within its bound; True without one.
        unknown: what is in the figures, and is not predicted.
    """

    name: str
    title: str
    predicts: str
    rows: int
    compared: int
    median: float | None
    worst: float | None
    is_judged: bool
    most_median: float | None
    most_worst: float | None
    most_step_bytes: int | None
    unit: str
    unit_bytes: int
    is_within: bool
    unknown: str


@dataclass(frozen=True, kw_only=True)
class PublishedMemory(Shown):
    """All published figures, and all groups."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["published_memory"] = "published_memory"
    samattn_version: str = __version__
    groups: tuple[PublishedGroup, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def is_within(self) -> bool:
        """Whether every judged group is within its bound."""
        return all(group.is_within for group in self.groups)

    def rows_of(self, group: PublishedGroup) -> tuple[PublishedRow, ...]:
        """The figures of a group."""
        return tuple(row for row in self.rows if row.group == group.name)
