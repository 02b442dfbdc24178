"""`samattn check --memory`, without a thresholds file."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli import analyze, load_config
from samattn_cli.cli.app import app

CONFIGS = {
    "trains.yaml": "extends: vit_b\ndepth: 2\nrun: {mode: training}\n",
    "runs.yaml": "extends: vit_b\ndepth: 2\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in CONFIGS.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)


def check(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *words])
    return result.exit_code, result.output


def test_the_peak_of_each_run_is_compared_to_the_byte() -> None:
    """Of a run in training, that of the training step."""
    totals = analyze(load_config("trains.yaml"), verify=False).totals
    assert check("trains.yaml", "runs.yaml", "--memory", f"{totals.training_bytes}B")[0] == 0
    code, text = check("trains.yaml", "runs.yaml", "--memory", f"{totals.training_bytes - 1}B")
    assert code == 1
    assert "error  memory: trains.yaml" in text
    assert "1 error, 1 passed" in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--memory", "1GiB"), "missing-argument"),
        (("runs.yaml", "--memory", "1GiB", "--base", "main"), "conflicting-options"),
        (("runs.yaml", "--memory", "1GiB", "--thresholds", "x.yaml"), "conflicting-options"),
        (("runs.yaml", "--memory", "1024"), "missing-unit"),
    ],
)
def test_what_does_not_go_with_it_is_refused(words: tuple[str, ...], code: str) -> None:
    exit_code, text = check(*words)
    assert exit_code == 2
    assert code in text


def test_a_config_that_cannot_be_read_is_not_a_pass() -> None:
    assert check("runs.yaml", "missing.yaml", "--memory", "1GiB")[0] == 2
