"""The types of the arguments that a study takes from Python: a name in place of what it names gets an error that says so."""

from __future__ import annotations

from ..device.model import Device
from ..encoder.model import EncoderConfig
from ..encoder.wording import cut


def check_config(study: str, config: object) -> None:
    """Check that a study gets a config.

    Raises:
        TypeError: if it is the name of one, or anything else.
    """
    if not isinstance(config, EncoderConfig):
        raise TypeError(
            f"{study} takes an EncoderConfig, not {cut(repr(config))}; use load_config to make one"
        )


def check_device(study: str, device: object) -> None:
    """Check that a study gets a device.

    Raises:
        TypeError: if it is the name of one, or anything else.
    """
    if not isinstance(device, Device):
        raise TypeError(f"{study} takes a Device, not {cut(repr(device))}; use load_device to make one")


def check_asked(study: str, config: object, device: object = None) -> None:
    """Check that a study gets a config, and a device if it gets anything for it."""
    check_config(study, config)
    if device is not None:
        check_device(study, device)
