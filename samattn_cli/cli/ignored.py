"""Notes on keys of a config, and on options, that are set and change nothing in an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..encoder.model import RunConfig
from ..encoder.without_effect import without_effect
from ..errors import Message, code_of
from ..render import PAGES, PICTURES
from .output import say

if TYPE_CHECKING:
    from ..device.model import Device


def say_ignored(runs: Iterable[RunConfig], device: Device | int | None, *, has_times: bool = True) -> None:
    """Say once each which keys of runs have no effect on a device, in so many bytes of memory, or without a device."""
    is_device = device is not None and not isinstance(device, int)
    on_cuda = is_device and getattr(device, "compute_capability", None) is not None
    notes = (
        note
        for run in runs
        for note in without_effect(run, on_cuda=on_cuda, has_times=has_times and is_device)
    )
    for note in dict.fromkeys(notes):
        say(Message(code_of(note), f"note: {note}"), style="yellow")


def say_not_drawn(chart: str, formats: Iterable[str], also_in: Iterable[str] = ()) -> None:
    """Say that a chart is asked for and no picture or page of it, nor a format of `also_in`, which has its figures."""
    if not {*PICTURES, *PAGES, *also_in} & {*formats}:
        say(
            Message("needs-a-picture", f"note: --chart {chart} is drawn in a file: add -o {chart}.svg"),
            style="yellow",
        )
