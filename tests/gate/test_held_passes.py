"""A check holds the passes of a few encoders, whatever it checks, and says what it says with all of them held."""

from pathlib import Path

import pytest

from samattn_cli.gate import readings
from samattn_cli.gate.readings import Encoder, Held
from samattn_cli.gate.run import check
from tests.support.thresholds_files import SMALL, TODAY, folder

RULES = "- {id: f, metric: flops, limit: 1 FLOP}\n- {id: g, metric: layers.global.count, limit: 9}"


def test_passes_are_dropped_and_the_results_stay_in_the_order_of_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three configs and two rules, with passes of one encoder held, and of all; config 2 is a twin of config 0."""
    held: list[int] = []
    add = Held.add

    def counted(self: Held, encoder: Encoder) -> None:
        add(self, encoder)
        held.append(sum("passes" in vars(each) for each in self.latest))

    monkeypatch.setattr(Held, "add", counted)
    file = folder(tmp_path, RULES)
    for number, depth in enumerate((2, 3, 2)):
        text = SMALL.replace("depth: 4", f"depth: {depth}")
        (tmp_path / "encoders" / f"e{number}.yaml").write_text(text, "utf-8")
    results = {}
    for most in (1, 9):
        monkeypatch.setattr(readings, "MOST_HELD", most)
        held.clear()
        results[most] = check(file, today=TODAY).results
        assert max(held) <= most
    assert results[1] == results[9]
    assert [each.rule for each in results[1]] == ["f"] * 4 + ["g"] * 4
    configs = [Path(each.config).name for each in results[1]]
    assert configs == ["e0.yaml", "e1.yaml", "e2.yaml", "small.yaml"] * 2
