"""The largest image and batch that train on cards of the sizes that are sold, as an encoder is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...device.load import load_device
from ...encoder.model import EncoderConfig
from ...records import replace
from ...reports.fit import Vary
from ...reports.plan import PlanSize
from ..fit import Asked, fit

CARDS = {16: "t4", 24: "rtx_4090", 32: "rtx_5090", 40: "a100_40", 48: "l40s", 80: "a100_80"}
"""A card of each size in GB."""
GROWN: tuple[Vary, ...] = ("resolution", "batch_size")


def sizes_of(config: EncoderConfig, done: Callable[[], object]) -> Iterator[PlanSize]:
    """The answer for each size; `done` is called after each."""
    training = replace(config, run=replace(config.run, mode="training"))
    for gigabytes, name in CARDS.items():
        device = load_device(name)
        asked = Asked(vary=GROWN, modes=("training",), kernels=(config.run.attention,), gaps=False)
        image, batch = fit(training, device, asked).answers
        yield PlanSize(
            gigabytes=gigabytes,
            device=device.name,
            usable_bytes=device.usable_bytes,
            image_size=None if image.fits is None else image.fits.image_size,
            batch_size=None if batch.fits is None else batch.fits.batch_size,
        )
        done()
