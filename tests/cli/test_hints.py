"""What the command line says to people in a hurry, and what it takes all the same; in one process."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from samattn_cli.cli.app import COMMANDS, OTHER_COMMANDS, app
from samattn_cli.encoder.presets import devices, presets

NO_VERIFY = ("--no-verify", "-f", "json")


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """The message, on one line, of what is refused with exit code 2 and nothing on standard output."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.split())


def same(arguments: tuple[str, ...], others: tuple[str, ...]) -> Result:
    """What both print."""
    first, second = run(*arguments), run(*others)
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    return first


# -- what is taken ---------------------------------------------------------------------------------------------------


def test_a_sweep_without_a_config_is_of_sam_vit_h_and_says_so() -> None:
    said = same(
        ("sweep", "--resolutions", "224,448", "-f", "csv"), ("sweep", "sam_vit_h", "--resolutions", "224,448", "-f", "csv")
    ).stderr  # fmt: skip
    assert said == "no config is given: taking sam_vit_h\n"


def test_a_comparison_of_placements_without_a_config_is_of_sam_vit_h_and_says_so() -> None:
    asked = ("--placements", "all", "-f", "csv")
    found = same(("compare-placements", *asked), ("compare-placements", "sam_vit_h", *asked))
    assert found.stderr == "no config is given: taking sam_vit_h\n"


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (("configs", "sam_vit_b"), ("configs", "--show", "sam_vit_b")),
        (("configs", "SAM-ViT-B"), ("configs", "--show", "sam_vit_b")),
        (("presets", "sam_vit_b"), ("configs", "--show", "sam_vit_b")),
        (("devices", "h100"), ("devices", "--show", "h100")),
        (("devices", "RTX 4090"), ("devices", "--show", "rtx_4090")),
        (("analyze", "VIT-B", *NO_VERIFY), ("analyze", "vit_b", *NO_VERIFY)),
        (("analyse", "vit_b", *NO_VERIFY), ("analyze", "vit_b", *NO_VERIFY)),
        (("analyze", "vit_b", "--no-verify", "-f", "JSON"), ("analyze", "vit_b", *NO_VERIFY)),
        (("analyze", "vit_b", "--no-verify", "-f", "md"), ("analyze", "vit_b", "--no-verify", "-f", "markdown")),
        (
            ("analyze", "vit_b", "--device", "RTX4090", "--resolution", "448x224", "--precision", "bf16", *NO_VERIFY),
            ("analyze", "vit_b", "--device", "rtx_4090", "--image-size", "448x224", "--dtype", "bfloat16", *NO_VERIFY),
        ),
        (
            ("analyze", "vit_b", "--batch", "2", "--ATTENTION", "SDPA", "--mode", "train", *NO_VERIFY),
            ("analyze", "vit_b", "--batch_size", "2", "--attn", "sdpa", "--mode", "training", *NO_VERIFY),
        ),
        (
            ("sweep", "sam_vit_b", "--resolution", "224", "--dtype", "fp16,fp32", "--window", "7", "-f", "csv"),
            ("sweep", "sam_vit_b", "--resolutions", "224", "--dtypes", "float16,float32", "--windows", "7", "-f", "csv"),
        ),
        (("sweep", "vit_b", "--size", "224", "--metrics", "FLOPs,Peak-Bytes", "-f", "csv"),
         ("sweep", "vit_b", "--resolutions", "224", "--metrics", "flops,peak_bytes", "-f", "csv")),
        (("fit", "vit_b", "--memory", "2GiB", "--vary", "batch-size", "--modes", "Train", "--attn", "SDPA", "-f", "csv"),
         ("fit", "vit_b", "--memory", "2GiB", "--vary", "batch-size", "--mode", "training", "--attention", "sdpa", "-f", "csv")),
        (("explain", "vit_b", "0", "--metric", "FLOPs", "-f", "csv"), ("explain", "vit_b", "0", "--metric", "flops", "-f", "csv")),
    ],
    ids=str,
)  # fmt: skip
def test_what_surely_means_something_is_taken(arguments: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert same(arguments, others).stderr == ""


def test_a_file_is_taken_before_the_preset_that_its_name_could_mean(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("SAM_VIT_H").write_text("extends: vit_b\ndescription: of a file\n", "utf-8")
    assert "of a file" in run("analyze", "SAM_VIT_H", *NO_VERIFY).stdout
    assert "of a file" not in run("analyze", "Sam_Vit_H", *NO_VERIFY).stdout


def test_every_other_name_of_a_command_leads_to_one() -> None:
    assert set(OTHER_COMMANDS.values()) <= set(COMMANDS)


# -- what is said ----------------------------------------------------------------------------------------------------

SAMS = [name for name in presets() if name.startswith("sam")]
HINTS = {
    ("analyze", "sam_vit_b", "--device", "a100"): "did you mean 'a100_40' or 'a100_80'?",
    ("fit", "sam_vit_b", "--device", "4090"): "did you mean 'rtx_4090'?",
    ("analyze", "sam_vit_b", "--device", "cuda:0"): "what is in this machine is measured: samattn measure",
    ("analyze", "sam_vit_b", "--device", "h100,t4"): "--device h100,t4: takes one device, such as h100",
    ("measure", "sam_vit_b", "--device", "H100"): "times on h100 are predicted by samattn analyze sam_vit_b --device h100",
    ("analyze", "sam_vit_b", "--attention", "flash"): "sdpa is torch's scaled_dot_product_attention",
    ("fit", "sam_vit_b", "--memory", "8GiB", "--attention", "flash"): "; sdpa is torch's scaled_dot_product_attention",
    ("sweep", "sam_vit_b", "--attention", "eager,flash"): "not 'flash'; sdpa is torch's scaled_dot_product_attention",
    ("analyze", "sam_vit_b", "--set", "embed_dim=1000"): "--set embed_dim=1000: num_heads 12 does not divide embed_dim 1000",
    ("sweep", "sam_vit_b", "--vary", "embed_dim=768,1000"): "--vary embed_dim=1000: num_heads 12 does not divide",
    ("sweep", "sam_vit_b", "--resolutions", "512", "1024"):
        "1024 is not a file or a preset; values of --resolutions go together: --resolutions 512,1024",
    ("sweep", "sam_vit_b", "--image-size=512", "768x1024", "1024"):
        "768x1024 1024 are not files or presets; values of --resolutions go together: --resolutions 512,768x1024,1024",
    ("sweep", "sam_vit_b", "--dtypes", "fp16", "fp32"): "values of --dtypes go together: --dtypes fp16,fp32",
    ("measure", "sam_vit_b", "--resolutions", "512", "1024"): "values of --resolutions go together: --resolutions 512,1024",
    ("verify", "sam_vit_b", "--set", "depth=12", "num_heads=12"): "--set depth=12 --set num_heads=12",
    ("analyze", "sam_vit_b", "--device", "RTX", "4090"): "RTX 4090 is one word: --device rtx_4090",
    ("sweep", "sam_vit_b", "--gpu", "jetson", "orin"): "jetson orin is one word: --device jetson_orin",
    ("analyze", "sam_vit_b", "image_size=512"): "image_size=512 is not a file or a preset; write --set image_size=512",
    ("analyze", "sam_vit_b", "attn_implementation=sdpa"): "; write --set run.attention=sdpa",
    ("sweep", "sam_vit_b", "stages.0.depth=3"): "stages.0.depth=3 is not a file or a preset; write --set stages.0.depth=3",
    ("analyze", "sam_vit_b", "--image-size", "512", "1024"): "one image is --image-size 512x1024",
    ("analyze", "sam_vit_b", "--image-size", "512,768"):
        "takes one value (height x width of one image: 512x768); several are for samattn sweep --resolutions 512,768",
    ("explain", "sam_vit_b", "--batch-size", "1,4"): "takes one value; several are for samattn sweep --batch-sizes 1,4",
    ("fit", "sam_vit_b", "--memory", "1GiB", "--dtype", "fp16,fp32"): "several are for samattn sweep --dtypes fp16,fp32",
    ("analyze", "sam_vit_b", "--autocast", "none,bf16"): "several are for samattn sweep --vary run.autocast=none,bf16",
    ("analyze", "sam_vit_b", "--json"): "No such option: --json; write --format json, or -o report.json",
    ("sweep", "sam_vit_b", "--md"): "No such option: --md; write --format markdown, or -o report.md",
    ("analyze", "sam_vit_b", "--svg"): "No such option: --svg; write -o report.svg",
    ("check", "--sarif"): "No such option: --sarif; write --format sarif, or -o report.sarif",
    ("check", "--gitlab"): "No such option: --gitlab; write --format gitlab, or -o gitlab=FILE",
    ("analyze", "sam_vit_b", "--format", "html"): "'html' is not one of 'terminal', 'json', 'csv', 'markdown'",
    ("sweep", "sam_vit_b", "--format", "html"): "; a file may be: -o report.html",
    ("analyze", "sam_vit_b", "--embed-dim", "1000"): "No such option: --embed-dim; write --set embed_dim=1000",
    ("fit", "sam_vit_b", "--tf32"): "No such option: --tf32; write --set run.tf32=VALUE",
    ("analyze", "sam_vit_b", "--dvice", "h100"): "No such option: --dvice; did you mean '--device'?",
    ("configs", "--show", "sam"): f"--show sam: 17 presets have that in their names: {', '.join(SAMS[:5])}",
    ("configs", "swin_"): "swin_: 12 presets have that in their names: swin_b,",
    ("devices", "a100"): "a100: 2 devices have that in their names: a100_40, a100_80",
    ("devices", "--show", "quantum"): f"there is no such device: there are {', '.join(devices())}",
    ("configs", "vit_b", "--show", "vit_h"): "vit_b --show vit_h: name one",
    ("explain", "sam_vit_h", "attn.qkv"): "did you mean '0.attn.qkv'?",
    ("explain", "sam_vit_h", "scores"): "did you mean '0.attn.scores'?",
    ("explain", "sam_vit_h", "mlp"): "did you mean '0.mlp'?",
    ("analyze", "sam_vit_h", "--no-verify", "--ops", "attn.qkv"):
        "--ops attn.qkv: is an operation: name the layer to open, such as blocks.0",
    ("check",): "or write one: samattn init",
    ("baseline", "create"): "or write one: samattn init",
    ("baseline", "update", "--acept", "a"): "No such option: --acept; did you mean '--accept'?",
    ("analyze",): "It is a YAML file or a preset, as in: samattn analyze sam_vit_h",
    ("fit", "--memory", "8GiB"): "It is a YAML file or a preset, as in: samattn fit sam_vit_h",
    ("analyze", "sam_vit_b", "sam_vit_l"): "several are for samattn diff sam_vit_b sam_vit_l, or samattn sweep sam_vit_b sam_vit_l",
    ("SAM_ViT_H", "--no-verify"): "it is a config: samattn analyze sam_vit_h --no-verify",
    ("my encoder.yaml",): "it is a config: samattn analyze 'my encoder.yaml'",
    ("anlyze", "sam_vit_b"): "No such command 'anlyze'; did you mean 'analyze'?",
    ("version",): "No such command 'version'; write samattn --version",
    ("analyze", "sam_vit_h.yaml"): "did you mean 'sam_vit_h'?",
    ("analyze", "sam_vit_h", "--set", "window_size", "8"): "takes a key and its value in one: --set window_size=8",
    ("sweep", "sam_vit_h", "--set", "window_size", "8"): "takes a key and its value in one: --set window_size=8",
    ("sweep", "sam_vit_h", "--metrics", "flops", "params"): "values of --metrics go together: --metrics flops,params",
    ("compare-placements", "sam_vit_h", "--placements", "7", "15"): "values of --placements go together: --placements 7,15",
    ("compare-placements", "sam_vit_h", "--placements", "none", "all"): "--placements none --placements all",
    ("analyze", "sam_vit_b", "--set", "dtype=fp16"): "unknown key 'dtype'; it belongs in 'run:'",
    ("analyze", "sam_vit_b", "--set", "hidden_size=512"): "unknown key 'hidden_size'; did you mean 'embed_dim'?",
    ("analyze", "sam_vit_b", "--num-layers", "8"): "No such option: --num-layers; write --set depth=8",
    ("measure", "sam_vit_b", "--device", "gpu"): "must be cuda, cuda:1 or cpu; did you mean 'cuda'?",
    ("check", "--fail-on", "warning"): "'warning' is not one of 'warn', 'error', 'never'; did you mean 'warn'?",
    ("import", "sam_vit_b"): "; the preset of that name: samattn configs sam_vit_b",
    ("analyze", "sam_vit"): "did you mean 'sam_vit_b', 'sam_vit_b_lora', 'sam_vit_h',",
}  # fmt: skip


@pytest.mark.parametrize("arguments", HINTS, ids=" ".join)
def test_what_is_not_taken_comes_with_what_would_be_right(
    arguments: tuple[str, ...], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert HINTS[arguments] in refused(*arguments)


def test_the_presets_that_contain_a_word_are_all_of_them() -> None:
    said = refused("configs", "--show", "sam").rpartition(": ")[2].split(", ")
    assert sorted(said) == sorted(name for name in presets() if "sam" in name)


def test_two_configs_stay_two_configs() -> None:
    result = run("sweep", "--resolutions", "224", "vit_b", "vit_l", "-f", "csv")
    assert (result.exit_code, result.stdout.count("\nvit_")) == (0, 2)


def test_a_place_of_explain_is_not_taken_for_a_value() -> None:
    assert run("explain", "vit_b", "--metric", "flops", "7").exit_code == 0
    assert run("explain", "vit_b", "--batch-size", "2", "7").exit_code == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "config.json",
            '{"model_type": "sam_vision_model", "hidden_size": 768}',
            (
                "config.json:1:1: is a config.json of Hugging Face, not an encoder config: "
                "samattn import config.json -o encoder.yaml writes one from it"
            ),
        ),
        (
            "sam_vit_b.pth",
            "PK",
            (
                "sam_vit_b.pth: is a checkpoint, not an encoder config: "
                "samattn import sam_vit_b.pth -o encoder.yaml writes its config"
            ),
        ),
        (
            "before.json",
            '{"schema_version": 1, "kind": "analysis"}',
            "before.json:1:1: is a report of samattn (kind: analysis), not an encoder config: give the config that it is of",
        ),
    ],
)
def test_files_that_are_not_configs_are_told_what_takes_them(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, "utf-8")
    Path("over.yaml").write_text(f"extends: {name}\n", "utf-8")
    for config in (name, "over.yaml"):
        assert refused("analyze", config, "--no-verify") == said


def test_help_is_a_command_too() -> None:
    assert same(("help", "analyze"), ("analyze", "--help")).stderr == ""
    assert same(("help",), ("--help",)).stderr == ""


def test_a_pair_in_brackets_is_one_size() -> None:
    same(
        ("analyze", "vit_b", "--image-size", "[448, 224]", *NO_VERIFY),
        ("analyze", "vit_b", "--image-size", "448x224", *NO_VERIFY),
    )
