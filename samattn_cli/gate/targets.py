"""The modules that a thresholds file names, traced as a profile says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..device.model import Device
from ..errors import ConfigError, Message, Problem, SamattnError
from ..reports.trace import IN_THREADS
from .load_thresholds import ThresholdsFile
from .references import Case
from .thresholds import Profile, TracedTarget
from .traced import TracedEncoder

if TYPE_CHECKING:
    from ..studies.traced.ask import Asked

NOT_FOLLOWED = ("attention", "autocast", "checkpointing", "parallel", "gpus", "set")
"""Keys of a profile that only configs of samattn follow."""
SIZES = re.compile(r"\d+(?:x\d+)*(?=$|:)")
IMAGE = 4
"""The dimensions of an image: (B, C, H, W)."""


def traced_encoder(file: ThresholdsFile, case: Case, device: Device | None) -> TracedEncoder:
    """The module of a case. It is traced at once.

    Raises:
        ConfigError: if it cannot be traced, or not as its profile says.
    """
    if case.path not in file.thresholds.targets:
        text = f"{case.path}: no entry of `configs` is a module with this name"
        raise ConfigError([Problem(file.label, Message("unknown-target", text))])
    index, target = file.thresholds.targets[case.path]
    profile = file.profile(case.profile)
    if unfit := list(_unfit(target, profile)):
        places = (file.where("profiles", case.profile, key) for key, _ in unfit)
        raise ConfigError(
            Problem(str(where), message) for where, (_, message) in zip(places, unfit, strict=True)
        )
    encoder = TracedEncoder(asked_of(file, case), device, profile.device)
    try:
        check_whole(encoder)
    except SamattnError as error:
        where = str(file.where("configs", index, "trace"))
        text = str(error.message).replace("--input ", "input: ")  # a key here, and no option
        raise ConfigError([Problem(where, Message(next(iter(error.codes), ""), text))]) from None
    return encoder


def asked_of(file: ThresholdsFile, case: Case) -> Asked:
    """What is traced for a case, and how."""
    from ..studies.traced.ask import Asked

    _, target = file.thresholds.targets[case.path]
    profile = file.profile(case.profile)
    return Asked(
        target=target.target,
        inputs=target.input,
        arguments=target.args or {},
        dtype=profile.dtype or target.dtype or "",
        submodule=target.submodule,
        mode=profile.mode or "inference",
        optimizer=profile.optimizer or "adamw",
        folder=str(file.folder),
    )


def check_whole(encoder: TracedEncoder) -> None:
    """Trace a module.

    Raises:
        SamattnError: if it cannot be traced, or not as a whole.
    """
    if IN_THREADS in encoder.analysis(encoder.asked.mode).notes:
        raise SamattnError("not-whole", f"{encoder.asked.target}: {IN_THREADS}")


def _unfit(target: TracedTarget, profile: Profile) -> Iterator[tuple[str, Message]]:
    """The keys of a profile that a module does not follow, and those that are not as its input is."""
    for key in NOT_FOLLOWED:
        if getattr(profile, key):
            text = f"{key} is not for {target.path}, whose own code decides it: use another profile for this module"
            yield key, Message("not-of-traced", text)
    shapes = [SIZES.findall(text)[0].split("x") for text in target.input]
    said = {
        "batch_size": [tuple(shape[:1]) for shape in shapes],
        "image_size": [tuple(shape[-2:]) for shape in shapes if len(shape) == IMAGE],
    }
    for key, sizes in said.items():
        value = getattr(profile, key)
        wanted = tuple(map(str, value if isinstance(value, tuple) else (value,)))
        if value is not None and {*sizes} != {wanted}:
            inputs = ", ".join(target.input) or "not given"
            text = f"{key} is not that of the input of {target.path}, which is {inputs}: use another profile for this module"
            yield key, Message("not-of-traced", text)
