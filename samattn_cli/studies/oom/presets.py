"""Which presets have an operation that asks for a size: where no encoder is given.

Each preset is passed over the Tape with one image. Its results grow with the batch, and with the bytes of a number. What is found
is passed again by its own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...encoder.kernels import takes
from ...encoder.model import EncoderConfig
from ...encoder.presets import presets
from ...files.load import load_config
from ...records import dataclass
from ...reports.oom import OomMessage
from ..passes import Passes
from ..placements.placing import problem_of
from .by_pass import requests_of
from .chance import Chance
from .places import asks_for, with_run
from .rank import Match, is_possible
from .solve import Setting, can_be, nearest

BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
DTYPES = {"float32": 1.0, "bfloat16": 0.5}
KERNELS = ("eager", "sdpa")
MOST_OPS = 10_000
"""Presets of more operations are left out: they run windows one by one, and take long."""
MOST_SETTINGS = 24


@dataclass(frozen=True)
class OfPreset:
    """A setting of a preset with a request that fits a message, and how far it is: see `solve.nearest`."""

    distance: float
    preset: str
    setting: Setting


def of_presets(message: OomMessage, chance: Chance) -> Iterator[Match]:
    """The requests that fit, of the likeliest settings of all presets."""
    found = [each for name in presets() for each in _of(name, load_config(name), message, chance)]
    found.sort(key=lambda each: (each.distance, each.setting.config.run.batch_size, len(each.setting.keys)))
    for each in found[:MOST_SETTINGS]:
        for asked in requests_of(Passes(each.setting.config)):
            if asks_for(asked, message.tried) and is_possible(asked, message):
                yield Match(each.setting, asked, preset=each.preset)


def _of(name: str, config: EncoderConfig, message: OomMessage, chance: Chance) -> Iterator[OfPreset]:
    config = with_run(config, batch_size=1)
    if problem_of(config):  # it takes a fixed number of images at once
        return
    if sum(len(segment.recording.ops) for segment in Passes(config).forward.segments) > MOST_OPS:
        return
    modes = ("inference", "training") if message.allocated or message.frames else ("inference",)
    for mode in modes:
        for kernel in KERNELS:
            if not takes(kernel, config):
                continue
            setting = Setting(
                with_run(config, mode=mode, attention=kernel), (("mode", mode), ("attention", kernel))
            )
            if can_be(setting, message):
                yield from _of_setting(name, setting, message, chance)


def _of_setting(name: str, setting: Setting, message: OomMessage, chance: Chance) -> Iterator[OfPreset]:
    """The batch sizes and types with which a request fits."""
    passes = Passes(setting.config)
    asked = list(requests_of(passes))
    nbytes = np.array([each.nbytes for each in asked], dtype=np.int64)
    live = np.array([each.live_bytes for each in asked], dtype=np.int64)
    state = int(passes.state_bytes)
    for dtype, share in DTYPES.items():
        for batch in BATCHES:
            sizes = (share * batch * nbytes).astype(np.int64)
            chance.add(sizes)
            lives = (share * (state + batch * np.maximum(live - state, 0))).astype(np.int64)
            distance = nearest(sizes, lives, message)
            if distance is not None:
                config = with_run(setting.config, dtype=dtype, batch_size=batch)
                yield OfPreset(
                    distance, name, Setting(config, (("batch_size", batch), ("dtype", dtype), *setting.keys))
                )
