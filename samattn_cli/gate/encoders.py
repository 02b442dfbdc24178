"""The encoders of a check, each loaded once in each profile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from ..device.model import Device
from ..encoder.model import EncoderConfig
from ..errors import ConfigError
from ..files.load import Loaded, load_located
from ..files.sources import Files
from .load_thresholds import ThresholdsFile
from .readings import Encoder
from .recordings import Recordings
from .references import Case
from .within import Within, files_around


@dataclass(frozen=True)
class Encoders:
    """Encoders as they are asked for; twins, which differ in their name only, are one and share their passes.

    `given`: the paths of configs that were named on the command line, and so may lie in another repository.
    """

    file: ThresholdsFile
    recordings: Recordings
    given: frozenset[str] = frozenset()
    loaded: dict[Case, Loaded | ConfigError] = field(default_factory=dict)
    twins: dict[tuple[EncoderConfig, Device | None], Encoder] = field(default_factory=dict)
    devices: dict[str, Device | None] = field(default_factory=dict)

    def of(self, case: Case) -> Encoder | ConfigError:
        """The encoder of a case, or why it cannot be loaded."""
        loaded = self.located(case)
        if isinstance(loaded, ConfigError):
            return loaded
        return self.twin(loaded.config, self._device(case.profile))

    def located(self, case: Case) -> Loaded | ConfigError:
        """The config of a case with the places of its keys, or why it cannot be loaded."""
        if case not in self.loaded:
            try:
                self.loaded[case] = load_located(
                    case.reference, self.file.overrides(case.profile), files=self._files(case)
                )
            except ConfigError as error:
                self.loaded[case] = error
        return self.loaded[case]

    def twin(self, config: EncoderConfig, device: Device | None) -> Encoder:
        """The encoder of a config, of today or of a base."""
        key = (replace(config, name="", description=""), device)
        if key not in self.twins:
            self.twins[key] = Encoder(config, device, self.recordings)
        return self.twins[key]

    def failed(self, path: str) -> list[tuple[Case, ConfigError]]:
        """Why a config could not be loaded: once if that is in all of its profiles, else each reason in a profile once."""
        of_path = [(case, found) for case, found in self.loaded.items() if case.path == path]
        failed = [(case, found) for case, found in of_path if isinstance(found, ConfigError)]
        problems = [found.problems for _, found in failed]
        if 1 < len(failed) == len(of_path) and set.intersection(*map(set, problems)):
            return [(replace(failed[0][0], profile=""), ConfigError(dict.fromkeys(chain(*problems))))]
        reasons = {found.problems: (case, found) for case, found in reversed(failed)}
        return [*reversed(reasons.values())]

    def _files(self, case: Case) -> Files:
        """The files of the thresholds' repository; of a config that was named and lies in another, those of that one."""
        files, path = self.file.files, Path(case.reference)
        if case.path not in self.given or (isinstance(files, Within) and files.holds(path)):
            return files
        return files_around(path.parent)

    def _device(self, profile: str) -> Device | None:
        if profile not in self.devices:
            self.devices[profile] = self.file.device(profile)
        return self.devices[profile]
