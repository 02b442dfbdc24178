"""README's table of public implementations: its own side is samattn's, its presets are all that are counted."""

from __future__ import annotations

from pathlib import Path

from public_counts import HEADER, WORDS_HEADER, families, row, words

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_the_table_has_every_preset_that_is_counted_and_no_difference():
    table = README.partition(HEADER)[2].partition("\n\n")[0].splitlines()
    public = {line.split(" | ")[0].strip("| "): line for line in table}
    assert list(public) == [preset for presets in families().values() for preset in presets]
    for preset, line in public.items():
        numbers = [int(cell.replace(",", "")) for cell in line.split(" | ")[2:-1]]
        assert line == row(preset, (numbers[1], numbers[3])), preset
        assert line.endswith("| 0 |")


def test_every_word_of_the_families_is_documented():
    assert WORDS_HEADER + "\n".join(words()) + "\n" in README
