"""Evidence of a failure: the keys and layers that caused it, the line to look at, and the command that shows more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import SamattnError
from ..files.file_kinds import DEVICE
from ..files.load import Loaded
from ..records import dataclass
from ..reports.diff import Place
from ..shell import command
from ..studies.causes import figures_of_causes
from ..studies.diff import diff, key_changes, places_in
from ..studies.passes import Passes
from ..studies.places import place_of
from .base import AtBase
from .contributions import contributions
from .encoders import Encoders
from .load_thresholds import ThresholdsFile
from .readings import Encoder
from .references import Case
from .traced import TracedEncoder


@dataclass(frozen=True)
class Evidence:
    """Causes, a line each; the line of the config to look at; the command that shows more."""

    causes: tuple[str, ...]
    place: Place | None
    command: str


NOTHING = Evidence((), None, "")
"""Of a result that passes."""


def evidence(encoders: Encoders, case: Case, metric: str, base: AtBase | None) -> Evidence:
    """Evidence for a figure of a config that can be loaded: what changed it since the base, else what contributes most."""
    encoder = encoders.of(case)
    if isinstance(encoder, TracedEncoder):
        index, _ = encoders.file.thresholds.targets[case.path]
        at = place_of(encoders.file.where("configs", index, "trace"))
        return Evidence(encoder.contributions(metric), at, encoder.command)
    loaded = encoders.located(case)
    assert isinstance(encoder, Encoder)  # noqa: S101 - it has been judged; for the type checker
    assert isinstance(loaded, Loaded)  # noqa: S101 - likewise
    before = base and _since(base, case, metric, encoder)
    run = _options_of(encoders.file, case.profile)
    if base and before:
        path = base.old_path(case) or Path(case.reference)
        words = ["diff", base.label(path), case.reference, *run, "--metric", metric]
        key = (before.config, before.device, encoder.config, encoder.device, metric)
        if key not in encoders.causes:  # worked out once for all configs that changed alike
            encoders.causes[key] = _causes(before.passes, encoder.passes, metric)
        causes = encoders.causes[key]
        return Evidence(causes, _place(before, encoder, loaded), command(*words))
    place = Place(case.reference) if Path(case.reference).is_file() else None
    words = ["analyze", case.reference, *run]
    return Evidence(contributions(encoder, metric), place, command(*words))


def _since(base: AtBase, case: Case, metric: str, encoder: Encoder) -> Encoder | None:
    """The encoder at the base, if its figure is different; None if it is equal or unknown."""
    try:
        before = base.encoder(case)
        if before is None or before is encoder or before.readings(metric) == encoder.readings(metric):
            return None
    except SamattnError:
        return None
    return before


def _causes(before: Passes, after: Passes, metric: str) -> tuple[str, ...]:
    figures = figures_of_causes(metric, training=after.trains)
    return diff(before, after, metric=metric, figures=figures).causes


def _place(before: Encoder, after: Encoder, loaded: Loaded) -> Place:
    """The place of the first key that changed; the file, if no key has a place."""
    changes = key_changes(before.config, after.config, places_in(loaded))
    places = [change.place for change in changes if change.place is not None]
    known = (place for place in places if place.line is not None)
    return next(known, Place(loaded.label))


def _options_of(file: ThresholdsFile, profile: str) -> Iterator[str]:
    """A profile as options of a command."""
    for override in file.overrides(profile):
        value = override.value.plain()
        yield from ("--set", f"{override.key}={value if isinstance(value, str) else json.dumps(value)}")
    if device := file.profile(profile).device:
        is_shipped = device in DEVICE.names() and not (file.folder / device).is_file()
        yield from ("--device", device if is_shipped else os.path.normpath(file.folder / device))
