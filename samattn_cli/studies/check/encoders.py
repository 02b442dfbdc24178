"""The encoders of a check, each loaded once in each profile."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace

from ...config.device import Device
from ...config.load import load_config
from ...config.load_thresholds import ThresholdsFile
from ...config.model import EncoderConfig
from ...errors import ConfigError
from .measured import Recordings
from .metrics import Encoder
from .references import Case


@dataclass(frozen=True)
class Encoders:
    """Encoders as they are asked for; twins, which differ in their name only, are one and share their passes."""

    file: ThresholdsFile
    recordings: Recordings
    loaded: dict[Case, Encoder | ConfigError] = field(default_factory=dict)
    twins: dict[tuple[EncoderConfig, str], Encoder] = field(default_factory=dict)
    devices: dict[str, Device | None] = field(default_factory=dict)

    def of(self, case: Case) -> Encoder | ConfigError:
        """The encoder of a case, or why it cannot be loaded."""
        if case not in self.loaded:
            self.loaded[case] = self._load(case)
        return self.loaded[case]

    def failed(self, path: str) -> list[tuple[Case, ConfigError]]:
        """The profiles in which a config could not be loaded."""
        of_path = ((case, found) for case, found in self.loaded.items() if case.path == path)
        return [(case, found) for case, found in of_path if isinstance(found, ConfigError)]

    def command(self, case: Case) -> str:
        """What analyses a case."""
        words = ["samattn", "analyze", case.reference]
        for override in self.file.overrides(case.profile):
            value = override.value.plain()
            words += ["--set", f"{override.key}={value if isinstance(value, str) else json.dumps(value)}"]
        device = (self.file.thresholds.profiles or {})[case.profile].device if case.profile else ""
        return shlex.join([*words, *(["--device", device] if device else [])])

    def _load(self, case: Case) -> Encoder | ConfigError:
        try:
            config = load_config(case.reference, self.file.overrides(case.profile))
        except ConfigError as error:
            return error
        key = (replace(config, name="", description=""), case.profile)
        if key not in self.twins:
            self.twins[key] = Encoder(config, self._device(case.profile), self.recordings)
        return self.twins[key]

    def _device(self, profile: str) -> Device | None:
        if profile not in self.devices:
            self.devices[profile] = self.file.device(profile)
        return self.devices[profile]
