"""Peak memory of consecutive layers as a few numbers that chain, for a dynamic program over layers.

What precedes a layer is a tuple whose numbers raise the peak of the whole or leave it: less of each is never worse, whatever
follows. So of several beginnings, only those need to be kept that no other is at most as large as in every number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .pieces import Constants, Piece


class Forward(NamedTuple):
    """What layers add to the peak of an inference pass; the fields are those of `Piece`."""

    weights: int
    change: int
    rise: int

    @classmethod
    def of(cls, piece: Piece) -> Forward:
        """The numbers of a piece."""
        return cls(piece.weights, piece.change, piece.rise)

    def then(self, after: Forward) -> Forward:
        """These layers followed by others."""
        return Forward(
            self.weights + after.weights, self.change + after.change, max(self.rise, self.change + after.rise)
        )

    def first(self) -> Forward:
        """These layers, where none precede them."""
        return self

    def peak(self, constants: Constants) -> int:
        """The peak of the whole pass, in bytes."""
        piece = Piece(weights=self.weights, change=self.change, rise=self.rise)
        return int(constants.figure("peak_bytes", piece))


class Training(NamedTuple):
    """What layers add to the peak of a training step; `left` is what they keep without what is freed at the forward's end."""

    weights: int
    gradients: int
    kept: int
    left: int
    kept_rise: int
    undone: int
    undone_rise: int
    returned: int

    @classmethod
    def of(cls, piece: Piece) -> Training:
        """The numbers of a piece."""
        return cls(
            piece.weights,
            piece.gradients,
            piece.kept,
            piece.kept - piece.lost,
            piece.kept_rise,
            piece.undone,
            piece.undone_rise,
            piece.returned,
        )

    def then(self, after: Training) -> Training:
        """These layers followed by others; the backward runs through the others first."""
        return Training(
            self.weights + after.weights,
            self.gradients + after.gradients,
            self.kept + after.kept,
            self.left + after.left,
            max(self.kept_rise, self.kept + after.kept_rise),
            self.undone + after.undone,
            max(after.undone_rise, after.undone + self.undone_rise),
            self.returned + after.returned,
        )

    def first(self) -> Training:
        """These layers, where none precede them: nothing is run after their backward, so it does not matter what that leaves."""
        return self._replace(undone=0)

    def peak(self, constants: Constants) -> int:
        """The peak of the whole step, in bytes."""
        fields = {name: value for name, value in self._asdict().items() if name != "left"}
        return int(constants.figure("training_bytes", Piece(**fields, lost=self.kept - self.left)))


Peak = Any
"""A `Forward` or a `Training`; one search has one of them."""

PEAKS: dict[str, type[Forward | Training]] = {"peak_bytes": Forward, "training_bytes": Training}


def least(several: Iterable[Peak]) -> list[Peak]:
    """Those of several beginnings of which no other is at most as large in every number."""
    kept: list[Peak] = []
    for each in sorted(set(several)):
        if not any(all(low <= high for low, high in zip(other, each, strict=True)) for other in kept):
            kept.append(each)
    return kept
