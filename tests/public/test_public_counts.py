"""The tables of public implementations in tests/README.md: samattn's own side is today's, every preset counted is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samattn_cli.encoder.presets import presets
from tests.public.counts import HEADER, families, row
from tests.public.memory import HEADER as MEMORY_HEADER
from tests.public.memory import ORIGINAL, ROWS, derived, line, public
from tests.support.pages import text_of
from tests.support.sampling import sampled

EVIDENCE = text_of("tests/README.md")


def table_under(header: str) -> list[str]:
    return EVIDENCE.partition(header)[2].partition("\n\n")[0].splitlines()


def test_the_table_has_every_preset_that_is_counted_and_no_difference():
    lines = {line.split(" | ")[0].strip("| "): line for line in table_under(HEADER)}
    assert list(lines) == [preset for module in families().values() for preset in module.PRESETS]
    for preset, found in lines.items():
        numbers = [int(cell.replace(",", "")) for cell in found.split(" | ")[2:-1]]
        assert found == row(preset, (numbers[1], numbers[3])), preset
        assert found.endswith("| 0 |")


def test_memory_of_other_implementations_has_a_line_for_each():
    assert len(table_under(MEMORY_HEADER)) == len(ROWS)


@pytest.mark.parametrize("number", sampled(range(len(ROWS)), 4))
def test_memory_of_other_implementations_is_reported_with_its_ratio_to_what_samattn_derives(number):
    found = table_under(MEMORY_HEADER)[number]
    theirs = float(found.split(" | ")[4].replace(",", ""))
    assert found == line(ROWS[number], theirs)


def test_the_first_of_each_library_is_traced_again():
    """segment-anything's ViT-B, and transformers', are equal to the byte."""
    lines = dict(zip(ROWS, table_under(MEMORY_HEADER), strict=True))
    first = {each.whose: each for each in reversed(ROWS)}
    assert set(first) == {"segment-anything", "transformers"}
    for each in first.values():
        assert lines[each] == line(each, round(public(each) / 2**20, 2))
        assert lines[each].endswith("| 1.000 |")
        assert public(each) == derived(each)


@pytest.mark.exhaustive
def test_what_transformers_keeps_of_a_forward_before_changes_no_figure():
    """SAM 3's neck caches its positions by shape: a second forward would find 13.29 MiB less to make."""
    row = next(each for each in ROWS if (each.preset, each.attention) == ("sam3_vision", "sdpa"))
    first, second = public(row), public(row)
    assert first == second
    lines = dict(zip(ROWS, table_under(MEMORY_HEADER), strict=True))
    assert lines[row] == line(row, round(first / 2**20, 2))


def test_readme_has_the_number_of_presets_that_are_equal():
    number = len(table_under(HEADER))
    assert f"Parameters and FLOPs of {number} presets equal those of public implementations" in text_of(
        "README.md"
    )
    assert f"`samattn configs` lists {len(presets())} presets" in text_of("README.md")


@pytest.mark.exhaustive
def test_readme_has_the_range_of_what_transformers_takes():
    """Activations of its code, as a multiple of those of the original authors'."""
    ratios = [
        derived(row) / derived(replace(row, whose=ORIGINAL))
        for row in ROWS
        if row.whose == "transformers" and row.config.implementation != "reference"
    ]
    said = f"of transformers' code take between {min(ratios):.2f} and {max(ratios):.2f} times as much"
    assert said in " ".join(text_of("README.md").split())
