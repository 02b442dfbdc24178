"""The encoders of a check. Each is loaded once in each profile."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from ..device.model import Device
from ..encoder.model import EncoderConfig
from ..errors import ConfigError
from ..files.load import Loaded, load_located
from ..files.sources import Files
from ..records import dataclass, replace
from .load_thresholds import ThresholdsFile
from .readings import MOST_HELD, Encoder, Held, is_count
from .recordings import Recordings
from .references import Case
from .targets import traced_encoder
from .traced import TracedEncoder
from .within import Within, files_around


@dataclass(frozen=True)
class Encoders:
    """Encoders, loaded when they are first needed. Twins, which differ only in their name, share one `Encoder` and its passes.

    `named`: the paths of configs that the user named; these may be in another repository. `held`: those whose passes are held.
    `causes`: why figures changed, by the two encoders and the metric. `places`: the latest few configs, with the places of keys.
    `of_path`: what was loaded or traced, by the path of its config.
    """

    file: ThresholdsFile
    recordings: Recordings
    named: frozenset[str] = frozenset()
    loaded: dict[Case, EncoderConfig | ConfigError] = field(default_factory=dict)
    places: dict[Case, Loaded | ConfigError] = field(default_factory=dict)
    twins: dict[tuple[EncoderConfig, Device | None], Encoder] = field(default_factory=dict)
    devices: dict[str, Device | None] = field(default_factory=dict)
    traced: dict[Case, TracedEncoder | ConfigError] = field(default_factory=dict)
    of_path: dict[str, dict[Case, Any]] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    causes: dict[tuple[object, ...], tuple[str, ...]] = field(default_factory=dict)

    def of(self, case: Case) -> Encoder | TracedEncoder | ConfigError:
        """The encoder of a case, or the error of loading it."""
        if case.is_traced:
            return self._traced(case)
        loaded = self.loaded[case] if case in self.loaded else self.located(case)
        if isinstance(loaded, ConfigError):
            return loaded
        config = loaded.config if isinstance(loaded, Loaded) else loaded
        return self.twin(config, self._device(case.profile))

    def located(self, case: Case) -> Loaded | ConfigError:
        """The config of a case with the places of its keys, or the error of loading it."""
        if case not in self.places:
            if len(self.places) >= MOST_HELD:
                self.places.pop(next(iter(self.places)))
            self.places[case] = self._load(case)
            located = self.places[case]
            self._keep(case, self.loaded, located.config if isinstance(located, Loaded) else located)
        return self.places[case]

    def _keep(self, case: Case, known: dict[Case, Any], loaded: object) -> None:
        """Keep what a case was loaded as, also by the path of its config."""
        known[case] = self.of_path.setdefault(case.path, {})[case] = loaded

    def _load(self, case: Case) -> Loaded | ConfigError:
        try:
            overrides = self.file.overrides(case.profile)
            return load_located(case.reference, overrides, files=self._files(case))
        except ConfigError as error:
            return error

    def twin(self, config: EncoderConfig, device: Device | None) -> Encoder:
        """The encoder of a config, of today or of a base."""
        key = (replace(config, name="", description=""), device)
        if key not in self.twins:
            counts = self._counts
            self.twins[key] = Encoder(config, device, self.recordings, self.held, is_counted=counts)
        return self.twins[key]

    @cached_property
    def _counts(self) -> bool:
        """Whether all rules are about figures that add up over the operations of a forward, so that no pass is needed."""
        return all(is_count(rule.metric) for rule in self.file.thresholds.rules)

    def failed(self, path: str) -> list[tuple[Case, ConfigError]]:
        """Why a config could not be loaded: one error if it failed in all its profiles, else each different error once."""
        of_path = [*self.of_path.get(path, {}).items()]
        failed = [(case, loaded) for case, loaded in of_path if isinstance(loaded, ConfigError)]
        problems = [error.problems for _, error in failed]
        if 1 < len(failed) == len(of_path) and set.intersection(*map(set, problems)):
            return [(replace(failed[0][0], profile=""), ConfigError(dict.fromkeys(chain(*problems))))]
        different = {error.problems: (case, error) for case, error in reversed(failed)}
        return [*reversed(different.values())]

    def _traced(self, case: Case) -> TracedEncoder | ConfigError:
        if case not in self.traced:
            try:
                found: Any = traced_encoder(self.file, case, self._device(case.profile))
            except ConfigError as error:
                found = error
            self._keep(case, self.traced, found)
        return self.traced[case]

    def _files(self, case: Case) -> Files:
        """The files of the thresholds' repository; for a named config in another repository, the files of that one."""
        files, path = self.file.files, Path(case.reference)
        if case.path not in self.named or (isinstance(files, Within) and files.holds(path)):
            return files
        return files_around(path.parent)

    def _device(self, profile: str) -> Device | None:
        if profile not in self.devices:
            self.devices[profile] = self.file.device(profile)
        return self.devices[profile]
