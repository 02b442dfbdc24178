"""Figures that others published for a preset, each against the count that its convention asks for."""

from __future__ import annotations

from ..encoder.model import EncoderConfig, RunConfig
from ..files.presets import preset_called
from ..published import NOT_OF_THIS_ENCODER, Published
from ..published import published as all_published
from ..records import replace
from ..reports.analysis import PublishedFigure
from ..tape.conventions import OURS, PUBLISHED
from ..tape.encoder import forward
from ..tape.segments import ForwardPass


def published(config: EncoderConfig) -> tuple[PublishedFigure, ...]:
    """The published figures of `config`, which must be a preset by name and structure, at their image size.

    How the config is run makes no difference.
    """
    entries = [
        entry
        for entry in all_published().get(config.name, ())
        if (entry.image_size, entry.image_size) == config.image_size
    ]
    if not entries or not _is_preset(config):
        return ()
    counted = forward(_plain(config))
    return tuple(compare(entry, counted) for entry in entries)


def compare(entry: Published, counted: ForwardPass) -> PublishedFigure:
    """A published figure against a forward pass of one image."""
    differs = NOT_OF_THIS_ENCODER.get(entry.convention)
    tally = OURS[entry.quantity] if differs else PUBLISHED[entry.convention]
    count = tally(counted)
    return PublishedFigure(
        quantity=entry.quantity,
        figure=entry.figure,
        unit=entry.unit,
        source=entry.source.title,
        address=entry.source.address,
        convention=entry.convention,
        words=", ".join(filter(None, (differs or tally.words, entry.note))),
        count=count,
        equals=entry.prints(count),
    )


def _is_preset(config: EncoderConfig) -> bool:
    preset = preset_called(config.name)
    if preset is None:
        return False
    same = replace(preset, image_size=config.image_size, description=config.description)
    return _plain(config) == _plain(same)


def _plain(config: EncoderConfig) -> EncoderConfig:
    """The same encoder with the default run: one image, inference."""
    return replace(config, run=RunConfig())
