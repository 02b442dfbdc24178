"""`samattn plan` on the command line: exit codes, what is printed first, bad input."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from samattn_cli import from_json, load_config
from samattn_cli.cli.app import app
from samattn_cli.device.load import device_source
from samattn_cli.errors import EXIT_DIFFERS, EXIT_ERROR

TWO = ("--gpus", "2", "--global-batch", "2")
FEW = ("--attention", "sdpa", "--autocast", "bfloat16", "--no-checkpointing", "--image-size", "128")


def run(*arguments):
    return CliRunner().invoke(app, ["plan", "vit_b", *arguments])


def test_the_keys_of_the_answer_are_a_config_with_its_figures(tmp_path):
    result = run(*TWO, "--device", "a100_80", *FEW, "-o", f"{tmp_path}/a.json", "-o", f"{tmp_path}/a.csv")
    assert result.exit_code == 0, result.output
    report = from_json((tmp_path / "a.json").read_text())
    best = report.choices[report.cards[0].best]
    run_ = load_config("vit_b", ["image_size=128", *best.set]).run
    assert (run_.mode, run_.gpus, run_.batch_size, run_.attention) == ("training", 2, 1, "sdpa")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == len(report.choices)
    assert float(rows[0]["step_ms"]) == best.step_ms == min(c.step_ms for c in report.choices if c.fits)


def test_a_sharded_strategy_that_is_set_is_of_the_gpus_that_are_given():
    result = run(*TWO, "--device", "a100_80", *FEW, "--set", "run.parallel=zero1")
    assert result.exit_code == 0, result.output
    assert "zero1" in result.output


def test_the_mode_is_not_an_option_and_a_key_that_would_be_refused_is_not_advised():
    result = run(*TWO, "--device", "a100_80", "--mode", "inference")
    assert result.exit_code == EXIT_ERROR
    assert "[unknown-option]" in result.output
    assert "training steps" in result.output
    assert "--set" not in result.output


def test_the_answer_is_first_and_the_command_keeps_what_the_user_set():
    result = run(*TWO, "--device", "a100_80", *FEW, "--set", "run.parallel=ddp")
    lines = result.output.splitlines()
    assert lines[1].startswith("✓ Of ")
    assert "Set it in the config, or look at it alone" in lines
    (command,) = (line for line in lines if line.strip().startswith("samattn analyze"))
    assert "--set image_size=128 " in command
    assert command.count("run.attention=sdpa") == 1
    assert "run.parallel=ddp" in command


def test_nothing_fits_is_exit_code_1_with_what_is_missing(tmp_path):
    small = tmp_path / "small.yaml"
    text = device_source("a100_80").text
    small.write_text(text.replace("memory_bytes: 85094039552", "memory_bytes: 600000000"))
    result = run(*TWO, "--device", str(small), *FEW, "-f", "json")
    report = json.loads(result.stdout)
    assert result.exit_code == EXIT_DIFFERS
    (card,) = report["cards"]
    nearest = report["choices"][card["nearest"]]
    assert nearest["missing_bytes"] == nearest["reserved_bytes"] - card["usable_bytes"] > 0
    said = " ".join(run(*TWO, "--device", str(small), *FEW).output.split())
    assert f"{card['too_large']} choices are not shown: {card['too_large']} do not fit. --all" in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--gpus", "0", "--global-batch", "2", "--device", "a100_80"), "out-of-range", "--gpus 0"),
        (("--gpus", "8", "--global-batch", "60", "--device", "a100_80"), "not-divisible", "56 or 64"),
        ((*TWO, "--device", "a100"), "file-not-found", "a100_80"),
        ((*TWO, "--device", "a100_80", "--price", "h100=2"), "price-without-card", "a100_80"),
        ((*TWO, "--device", "a100_80", "--price", "h100"), "not-a-price", "h100=2.9"),
        ((*TWO, "--device", "a100_80,a100_80"), "duplicate-device", "a100_80"),
        ((*TWO, "--device", "a100_80", "--devices", "a100_80"), "duplicate-device", "a100_80"),
        ((*TWO, "--device", "h100", "--price", "h100=2", "--price", "h100=3"), "given-twice", "h100=3"),
        ((*TWO, "--device", "a100_80,"), "empty-item", "--device"),
        (("--gpu", "8", "--global-batch", "8"), "unknown-value", "--gpus 8"),
        (TWO, "missing-option", "--memory"),
        ((*TWO, "--memory", "24"), "missing-unit", "GiB"),
        ((*TWO, "--memory", "24GiB", "--price", "h100=2"), "price-without-card", "--device"),
        (("--device", "a100_80"), "missing-option", "--gpus"),
        ((*TWO, "--device", "a100_80", "--set", "run.parallel=none"), "conflicting-options", "--gpus 2"),
        ((*TWO, "--device", "a100_80", "--set", "run.gpus=4", "--set", "run.parallel=ddp"), "conflicting-options", "run.gpus"),
    ],
)  # fmt: skip
def test_bad_input(arguments, code, says):
    result = run(*arguments)
    assert result.exit_code == EXIT_ERROR
    assert f"[{code}]" in result.output
    assert says in result.output


def test_cards_that_are_given_apart_are_compared_in_80_columns_and_only_one_has_a_price():
    result = run(
        *TWO, "--device", "a100_80", "--device", "cpu", *FEW, "--set", "run.parallel=ddp", "--price", "cpu=1"
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    header = lines[lines.index("Cards") + 1].split()
    assert header == ["card", "batch", "step", "reserved", "hour", "1,000", "images"]
    assert "The cheapest of those with a price is on cpu" in result.output


def test_of_processors_what_is_live_is_not_called_reserved_and_no_gpu_is_named():
    result = run(*TWO, "--device", "cpu", *FEW, "--set", "run.parallel=ddp")
    assert "in 2 processes" in result.output
    assert "A process needs at least" in result.output
    assert "GPU" not in result.output
    assert "reserve" not in result.output


def test_without_a_device_a_memory_is_enough_and_the_command_has_it(tmp_path):
    result = run(*TWO, "--memory", "1.5GiB", *FEW, "-f", "terminal", "-o", f"{tmp_path}/a.svg")
    said = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert "that fits 1.50 GiB is this" in said
    assert "In a step a GPU computes nothing again, and sends" in said
    assert "samattn analyze vit_b --memory 1536MiB --set" in said
    assert " ms" not in said
    assert "reserved" not in said.partition("Notes")[0]
    assert (tmp_path / "a.svg").stat().st_size


def test_run_gpus_may_repeat_gpus_and_must_not_contradict_it():
    options = (*TWO, "--device", "a100_80", *FEW, "--batch-size", "1")
    assert run(*options, "--set", "run.gpus=2").exit_code == 0
    result = run(*options, "--set", "run.gpus=4")
    assert result.exit_code == EXIT_ERROR
    assert "[conflicting-options]" in result.output
    assert "--gpus" in result.output
