"""What notes on SAM say, by `examples/claims`: which hold. Each figure is worked out here by hand, not by samattn."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from samattn_cli import load_config
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.lookup import MetricError
from samattn_cli.gate.readings import Encoder
from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.gate.run import check
from tests.support.running import ROOT

LAYERS, GLOBAL_LAYERS = 32, 4
SIDE, WINDOW = 1024 // 16, 14
TOKENS = SIDE**2
WINDOWS = (-(-SIDE // WINDOW)) ** 2
OF_WINDOW = WINDOW**2
WIDTH, HEAD, HIDDEN = 1280, 80, 4
FLOAT32 = 4
JOINT, DECOMPOSED = (2 * SIDE - 1) ** 2, 2 * (2 * SIDE - 1)

GLOBAL_SCORES = TOKENS**2
WINDOWED_SCORES = WINDOWS * OF_WINDOW**2


def layer_macs(tokens: int, scores: int, offsets: int) -> int:
    """qkv and proj of `tokens`; QK, AV and relative positions of `scores`; an MLP, which padding does not reach."""
    projections = 4 * tokens * WIDTH**2
    positions = 2 * tokens * offsets * WIDTH
    return projections + 2 * scores * WIDTH + positions + 2 * HIDDEN * TOKENS * WIDTH**2


GLOBAL_LAYER = layer_macs(TOKENS, GLOBAL_SCORES, SIDE)
WINDOWED_LAYER = layer_macs(WINDOWS * OF_WINDOW, WINDOWED_SCORES, WINDOW)
BESIDE = TOKENS * WIDTH * 16**2 * 3 + TOKENS * 256 * (WIDTH + 9 * 256)
"""Of the patch embedding, and of the neck's convolutions, 1x1 and 3x3."""

HOLD = {
    "windowed-layers": LAYERS - GLOBAL_LAYERS,
    "global-layers": GLOBAL_LAYERS,
    "grid": SIDE,
    "window": WINDOW,
    "windows": WINDOWS,
    "scores-global": GLOBAL_SCORES * FLOAT32,
    "scores-windowed": WINDOWED_SCORES * FLOAT32,
    "scores-saving": 1 - Fraction(WINDOWED_SCORES, GLOBAL_SCORES),
    "positions-joint": JOINT,
    "positions-decomposed": DECOMPOSED,
    "positions-saving": 1 - Fraction(DECOMPOSED, JOINT),
}
DO_NOT = {
    "speedup-of-scores": Fraction(GLOBAL_SCORES, WINDOWED_SCORES),
    "speedup-of-layer": Fraction(GLOBAL_LAYER, WINDOWED_LAYER),
    "speedup-overall": Fraction(
        LAYERS * GLOBAL_LAYER + BESIDE,
        (LAYERS - GLOBAL_LAYERS) * WINDOWED_LAYER + GLOBAL_LAYERS * GLOBAL_LAYER + BESIDE,
    ),
}


@pytest.fixture(scope="module")
def report() -> CheckReport:
    return check(load_thresholds(ROOT / "examples" / "claims" / "samattn.yaml"), today=date(2026, 1, 1))


@pytest.fixture(scope="module")
def results(report: CheckReport) -> dict[str, Result]:
    return {result.rule: result for result in report.results}


def test_the_hand_worked_figures_are_those_of_the_facts() -> None:
    assert (WINDOWS, OF_WINDOW) == (25, 196)
    assert (GLOBAL_SCORES * FLOAT32, WINDOWED_SCORES * FLOAT32) == (67_108_864, 3_841_600)
    assert (JOINT, DECOMPOSED) == (16_129, 254)
    assert (
        GLOBAL_SCORES // (WINDOWS * OF_WINDOW) == 3_423
    )  # the notes' mistake: windows linear in their tokens
    assert 2 * (32 * GLOBAL_LAYER + BESIDE) == 7_961_258_754_048


@pytest.mark.parametrize("claim", HOLD)
def test_a_claim_that_holds(claim: str, results: dict[str, Result]) -> None:
    assert results[claim].outcome == "pass", results[claim].summary
    assert results[claim].value == pytest.approx(float(HOLD[claim]), rel=1e-12)


@pytest.mark.parametrize("claim", DO_NOT)
def test_a_claim_that_does_not_hold(claim: str, results: dict[str, Result]) -> None:
    assert results[claim].outcome == "error"
    assert results[claim].value == pytest.approx(float(DO_NOT[claim]), rel=1e-12)
    assert "samattn explain sam_vit_h" in results[claim].advice


def test_every_claim_is_here_and_said_in_its_message(results: dict[str, Result]) -> None:
    assert set(results) == {*HOLD, *DO_NOT, "time-overall"}
    assert all(result.advice.startswith("Claim: ") for result in results.values())


def test_in_time_the_encoder_is_no_8_times_faster_either(results: dict[str, Result]) -> None:
    time = results["time-overall"]
    assert time.outcome == "error"
    assert time.value is not None
    assert 1 < time.value < 2


@pytest.mark.parametrize(
    ("overrides", "layer", "entries"),
    [
        ((), 0, 2 * 27),
        ((), 7, 254),
        (("rel_pos=joint",), 0, 27**2),
        (("image_size=512",), 7, 2 * 63),
        (("rel_pos_grid=64", "image_size=512"), 7, 254),
    ],
)
def test_relative_positions_of_a_layer(overrides: tuple[str, ...], layer: int, entries: int) -> None:
    encoder = Encoder(load_config("sam_vit_h", overrides))

    def value(name: str) -> float:
        return encoder.readings(f"layers.{layer}.{name}")[0].value

    assert value("rel_pos_params_per_channel") == entries
    assert value("rel_pos_params") == entries * HEAD
    saving = 0 if "rel_pos=joint" in overrides else 1 - entries / (entries / 2) ** 2
    assert value("rel_pos_params_saving_vs_joint") == pytest.approx(saving, rel=1e-12)


@pytest.mark.parametrize("preset", ["vit_b", "swin_t", "swinv2_t"])
def test_an_encoder_without_such_positions_has_no_such_figure(preset: str) -> None:
    with pytest.raises(MetricError, match=r"rel_pos_params_per_channel .*no-value"):
        Encoder(load_config(preset)).readings("layers.0.rel_pos_params_per_channel")
