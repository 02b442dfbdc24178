"""What errors say to somebody who wrote a value in the wrong place or in another tool's form."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.cli.trace import _choice

RULE = "- {id: flops, metric: flops, limit: 1 TFLOP}"


def said(*words: str) -> str:
    """What is printed for words that are refused, on one line."""
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, words)
    assert result.exit_code == 2
    return " ".join(result.output.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("fit", "vit_b", "2048", "24GB"), "write --image-size 2048 --memory 24GB [extra-argument]"),
        (("fit", "vit_b", "RTX4090"), "write --device rtx_4090 [extra-argument]"),
        (("explain", "vit_b", "7", "flops"), "write --metric flops [extra-argument]"),
        (("analyze", "vit_b", "2048", "large"), "unexpected extra argument(s) (2048 large) [bad-usage]"),
        (("fit", "vit_b", "--device", "24GiB"), "take --memory 24GiB [memory-for-a-device]"),
        (("diff", "vit_b", "vit_l", "--device", "24g"), "take --memory 24gB [memory-for-a-device]"),
        (("analyze", "vit_b", "--image-size", "512*768"), "for a height and a width, write 512x768 [not-a-pair]"),
        (("analyze", "vit_b", "--image-size", "512px"), "not '512px'; write 512 [not-a-pair]"),
        (("analyze", "vit_b", "--set", "attention=sdpa"), "it belongs in 'run:' (run.attention) [unknown-key]"),
        (("analyze", "timm:swin_t"), "`samattn import timm:swin_t -o encoder.yaml` writes a config of it"),
        (("analyze", "vit_tiny_patch16_224"), "if it is a model of timm, `samattn import timm:vit_tiny_patch16_224 -o"),
        (("analyze", "google/vit-base"), "samattn does not download from a hub: with the model's config.json, `samattn"),
        (("analyze", "vit_b", "--imagesize", "512"), "No such option: --imagesize; did you mean '--image-size'?"),
        (("analyze", "vit_b", "-o", "json"), "; to write this format, use -o report.json [unknown-extension]"),
        (("trace", "a:b", "--batch-size", "4"), "it is in the shape: --input 1x3x1024x1024 [unknown-option]"),
        (("trace", "a:b", "--mode", "trane"), "--mode trane: unknown value; did you mean 'training'? [unknown-choice]"),
        (("import",), "Missing argument 'SOURCE'. SOURCE is: A Hugging Face config.json, a checkpoint"),
        (("calibrate", "h100"), "Missing argument 'RECORDING...'. RECORDING is: Recordings by `samattn measure`"),
        (("guide", "analyz"), "unknown topic 'analyz'; did you mean 'analyze'?"),
        (("check", "vit_b", "--memory", "1GiB", "--recording", "no.json"), "--recording no.json: no such file"),
    ],
)  # fmt: skip
def test_what_would_be_right(words: tuple[str, ...], found: str) -> None:
    assert found in said(*words)


@pytest.mark.parametrize(
    ("option", "word", "meant"),
    [("--mode", "train", "training"), ("--dtype", "fp16", "float16"), ("--optimizer", "AdamW", "adamw")],
)
def test_a_trace_takes_the_other_names_that_a_config_takes(option: str, word: str, meant: str) -> None:
    assert _choice(option, word, (meant,)) == meant


def test_a_folder_of_a_model_is_to_be_imported_and_one_of_configs_has_them(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "sam"}), "utf-8")
    (folder / "encoders").mkdir()
    assert "directory with a config.json: `samattn import model -o encoder.yaml`" in said("analyze", "model")
    assert "is a directory: name a YAML file in it, or a preset" in said("analyze", "encoders")
    for name in ("b.yaml", "a.yml"):
        (folder / "encoders" / name).write_text("extends: vit_b\n", "utf-8")
    assert "name a YAML file in it, such as encoders/a.yml, or a preset" in said("analyze", "encoders")
    assert "did you mean 'encoders/b.yaml'?" in said("analyze", "encoders/b")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (f"rules: [{RULE[2:]}]\nwaivers: [{{rule: flops, until: 2027-01-01}}]", "'waivers.0.until'; did you mean 'expires'?"),
        ("rules: [{id: f, metric: flops, max: 1 TFLOP}]", "'rules.0.max'; did you mean 'limit'?"),
    ],
)  # fmt: skip
def test_keys_of_thresholds_have_other_names(folder: Path, keys: str, found: str) -> None:
    (folder / "samattn.yaml").write_text(f"version: 1\nconfigs: [vit_b]\n{keys}\n", "utf-8")
    assert found in said("check")


def test_a_baseline_without_a_rule_shows_one_that_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)  # where baselines are not written
    path = folder / "samattn.yaml"
    path.write_text(f"version: 1\nconfigs: [vit_b]\nrules:\n  {RULE}\n", "utf-8")
    rule = said("baseline", "create").partition("such as ")[2].removesuffix(" [no-baseline-rule]")
    path.write_text(f"version: 1\nconfigs: [vit_b]\nrules:\n  {rule}\n", "utf-8")
    result = CliRunner().invoke(app, ["baseline", "create"])
    assert (result.exit_code, result.stdout) == (0, "wrote samattn-baseline.json: 1 figure\n")


def test_a_check_of_a_memory_names_its_option_and_no_line_of_a_file() -> None:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["check", "vit_b", "--memory", "1MiB"])
    assert "\n  rule     --memory 1MiB\n" in result.output
