"""Every family of the package is put through the contract."""

from __future__ import annotations

from typing import ClassVar

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.encoder.registry import BLOCKS
from tests.families.contract import Contract
from tests.public.counts import families
from tests.public.record import Record

RECORDS = tuple(record for module in families().values() for record in module.RECORDS)


class TestFamilies(Contract):
    records: ClassVar[tuple[Record, ...]] = RECORDS


WITHOUT_PRESET = {"dinov3", "eva", "eva02", "eva02_clip", "rope", "pe"}
"""Blocks of no preset, which a record needs: test_plain.py, test_plain_outputs.py and test_axial.py show what a record would."""


def test_every_word_for_a_block_has_a_record():
    assert {block for record in RECORDS for block in record.blocks} == set(BLOCKS) - WITHOUT_PRESET
    of_presets = {stage.block for name in presets() for stage in load_config(name).stages}
    assert not of_presets & WITHOUT_PRESET


def test_presets_of_records_are_among_those_of_the_table():
    for name, module in families().items():
        presets = {preset for record in module.RECORDS for preset in (*record.presets, *record.larger)}
        assert presets <= set(module.PRESETS), name
