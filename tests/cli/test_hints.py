"""What the command line says to people in a hurry, and what it takes all the same; in one process."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from samattn_cli.cli.app import COMMANDS, OTHER_COMMANDS, app
from samattn_cli.encoder.presets import devices, presets

SMALL = ("vit_b", "--set", "depth=2", "--image-size", "32")
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
    assert said == "no config given, using sam_vit_h\n"


def test_a_comparison_of_placements_without_a_config_is_of_sam_vit_h_and_says_so() -> None:
    asked = ("--placements", "all", "-f", "csv")
    found = same(("compare-placements", *asked), ("compare-placements", "sam_vit_h", *asked))
    assert found.stderr == "no config given, using sam_vit_h\n"


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
    ("analyze", "sam_vit_b", "--device", "a100"): ("'a100_40' or 'a100_80'",),
    ("fit", "sam_vit_b", "--device", "4090"): ("'rtx_4090'",),
    ("analyze", "sam_vit_b", "--device", "cuda:0"): ("[device-of-this-machine]", "--device cuda:0: ", "samattn measure"),
    ("analyze", "sam_vit_b", "--device", "h100,t4"): ("[one-value]", "--device h100,t4: ", "such as h100"),
    ("measure", "sam_vit_b", "--device", "H100"): ("[unknown-device]", "samattn analyze sam_vit_b --device h100"),
    ("analyze", "sam_vit_b", "--attention", "flash"): ("; use sdpa: torch's scaled_dot_product_attention",),
    ("fit", "sam_vit_b", "--memory", "8GiB", "--attention", "flash"):
        ("[unknown-value]", "--attention flash: ", "'flash'", "; use sdpa: torch's scaled_dot_product_attention"),
    ("sweep", "sam_vit_b", "--attention", "eager,flash"): ("'flash'", "; use sdpa: torch's scaled_dot_product_attention"),
    ("analyze", "sam_vit_b", "--set", "embed_dim=1000"): ("--set embed_dim=1000: num_heads 12 does not divide embed_dim 1000",),
    ("sweep", "sam_vit_b", "--vary", "embed_dim=768,1000"): ("--vary embed_dim=1000: num_heads 12 does not divide",),
    ("sweep", "sam_vit_b", "--resolutions", "512", "1024"): ("[split-value]", "1024 is not", "--resolutions 512,1024"),
    ("sweep", "sam_vit_b", "--image-size=512", "768x1024", "1024"):
        ("[split-value]", "768x1024 1024 are not", "--image-size 512,768x1024,1024"),
    ("sweep", "sam_vit_b", "--dtypes", "fp16", "fp32"): ("[split-value]", "--dtypes fp16,fp32"),
    ("explain", "rf_detr_nano", "peak_memory"): ("[unknown-layer]", "samattn explain rf_detr_nano --metric peak_memory"),
    ("explain", "rf_detr_nano", "latency"): ("[unknown-layer]", "latency: is a metric", "no formula"),
    ("measure", "sam_vit_b", "--resolutions", "512", "1024"): ("[split-value]", "--resolutions 512,1024"),
    ("verify", "sam_vit_b", "--set", "depth=12", "num_heads=12"): ("[split-value]", "--set depth=12 --set num_heads=12"),
    ("analyze", "sam_vit_b", "--device", "RTX", "4090"): ("[extra-argument]", "--device rtx_4090"),
    ("sweep", "sam_vit_b", "--gpu", "jetson", "orin"): ("[split-value]", "--gpu jetson_orin"),
    ("analyze", "sam_vit_b", "image_size=512"): ("[extra-argument]", "write --set image_size=512"),
    ("analyze", "sam_vit_b", "attn_implementation=sdpa"): ("[extra-argument]", "write --set run.attention=sdpa"),
    ("sweep", "sam_vit_b", "stages.0.depth=3"): ("[setting-without-option]", "write --set stages.0.depth=3"),
    ("analyze", "sam_vit_b", "--image-size", "512", "1024"): ("[extra-argument]", "--image-size 512x1024"),
    ("analyze", "sam_vit_b", "--image-size", "512,768"): ("[one-value]", "512x768", "samattn sweep --resolutions 512,768"),
    ("explain", "sam_vit_b", "--batch-size", "1,4"): ("[one-value]", "samattn sweep --batch-sizes 1,4"),
    ("fit", "sam_vit_b", "--memory", "1GiB", "--dtype", "fp16,fp32"): ("[one-value]", "samattn sweep --dtypes fp16,fp32"),
    ("analyze", "sam_vit_b", "--autocast", "none,bf16"): ("[one-value]", "samattn sweep --vary run.autocast=none,bf16"),
    ("analyze", "sam_vit_b", "--json"): ("[unknown-option]", ": --json; write --format json, or -o report.json"),
    ("sweep", "sam_vit_b", "--md"): ("[unknown-option]", ": --md; write --format markdown, or -o report.md"),
    ("analyze", "sam_vit_b", "--svg"): ("[unknown-option]", ": --svg; write -o report.svg"),
    ("check", "--sarif"): ("[unknown-option]", ": --sarif; write --format sarif, or -o report.sarif"),
    ("check", "--gitlab"): ("[unknown-option]", ": --gitlab; write --format gitlab, or -o gitlab=FILE"),
    ("analyze", "sam_vit_b", "--format", "html"): ("[unknown-value]", "'html' is not one of 'terminal', 'json', 'csv', 'markdown'"),
    ("sweep", "sam_vit_b", "--format", "html"): ("[unknown-value]", "-o report.html"),
    ("analyze", "sam_vit_b", "--embed-dim", "1000"): ("[unknown-option]", ": --embed-dim; write --set embed_dim=1000"),
    ("fit", "sam_vit_b", "--tf32"): ("[unknown-option]", ": --tf32; write --set run.tf32=VALUE"),
    ("analyze", "sam_vit_b", "--dvice", "h100"): ("[unknown-option]", ": --dvice; did you mean '--device'?"),
    ("configs", "--show", "sam"): ("[ambiguous-name]", "--show sam: 18 presets ", ", ".join(SAMS[:5])),
    ("configs", "swin_"): ("[ambiguous-name]", "swin_: 10 presets ", ": swin_b,"),
    ("devices", "a100"): ("[ambiguous-name]", "a100: 2 devices ", ": a100_40, a100_80"),
    ("devices", "--show", "quantum"): ("[unknown-name]", "--show quantum: ", ", ".join(devices())),
    ("configs", "vit_b", "--show", "vit_h"): ("[given-twice]", "vit_b --show vit_h: "),
    ("explain", "sam_vit_h", "attn.qkv"): ("'0.attn.qkv'",),
    ("explain", "sam_vit_h", "scores"): ("'0.attn.scores'",),
    ("explain", "sam_vit_h", "mlp"): ("'0.mlp'",),
    ("analyze", "sam_vit_h", "--no-verify", "--ops", "attn.qkv"): ("[not-a-layer]", "--ops attn.qkv: ", "such as blocks.0"),
    ("check",): ("samattn init",),
    ("baseline", "create"): ("samattn init",),
    ("baseline", "update", "--acept", "a"): ("[unknown-option]", ": --acept; did you mean '--accept'?"),
    ("analyze",): ("[missing-argument]", "'CONFIG'", "samattn analyze sam_vit_h"),
    ("fit", "--memory", "8GiB"): ("[missing-argument]", "'CONFIG'", "samattn fit sam_vit_h"),
    ("analyze", "sam_vit_b", "sam_vit_l"):
        ("[extra-argument]", "samattn diff sam_vit_b sam_vit_l, or samattn sweep sam_vit_b sam_vit_l"),
    ("SAM_ViT_H", "--no-verify"): ("[unknown-command]", "samattn analyze sam_vit_h --no-verify"),
    ("my encoder.yaml",): ("[unknown-command]", "samattn analyze 'my encoder.yaml'"),
    ("anlyze", "sam_vit_b"): ("[unknown-command]", "'anlyze'; did you mean 'analyze'?"),
    ("version",): ("[unknown-command]", "'version'; write samattn --version"),
    ("--verson",): ("[unknown-option]", "--verson", "--version"),
    ("analyze", "vit_b", "--image-size"): ("[bad-option]", "'--image-size'"),
    ("sweep", "vit_b", "--resolutions", "224", "--measure", "cpu", "--repeats", "x"): ("[bad-value]", "'--repeats'", "'x'"),
    ("analyze", "sam_vit_h.yaml"): ("'sam_vit_h'",),
    ("analyze", "sam_vit_h", "--set", "window_size", "8"): ("[extra-argument]", "--set window_size=8"),
    ("sweep", "sam_vit_h", "--set", "window_size", "8"): ("[split-value]", "--set window_size=8"),
    ("sweep", "sam_vit_h", "--metrics", "flops", "params"): ("[split-value]", "--metrics flops,params"),
    ("compare-placements", "sam_vit_b", "--chart", "front", "-o", "front.svg"): ("[needs-option]", "--search 4"),
    ("compare-placements", "sam_vit_h", "--placements", "7", "15"): ("[extra-argument]", "--placements 7,15"),
    ("compare-placements", "sam_vit_h", "--placements", "none", "all"): ("[extra-argument]", "--placements none --placements all"),
    ("analyze", "sam_vit_b", "--set", "dtype=fp16"): ("unknown key 'dtype'", "'run:'"),
    ("analyze", "sam_vit_b", "--set", "hidden_size=512"): ("unknown key 'hidden_size'", "'embed_dim'"),
    ("analyze", "sam_vit_b", "--num-layers", "8"): ("[unknown-option]", ": --num-layers; write --set depth=8"),
    ("measure", "sam_vit_b", "--device", "dry:"): ("[unknown-device]", "--device dry: ", "dry:h100"),
    ("measure", "sam_vit_b", "--device", "gpu"): ("[unknown-device]", "--device gpu: ", "'cuda'"),
    ("check", "--fail-on", "warning"): ("[unknown-value]", "'warning' is not one of 'warn', 'error', 'never'; did you mean 'warn'?"),
    ("import", "sam_vit_b"): ("samattn configs sam_vit_b",),
    ("analyze", "sam_vit"): ("'sam_vit_b', 'sam_vit_b_lora', 'sam_vit_h',",),
}  # fmt: skip


@pytest.mark.parametrize("arguments", HINTS, ids=" ".join)
def test_what_is_not_taken_comes_with_what_would_be_right(
    arguments: tuple[str, ...], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(*arguments)
    for part in HINTS[arguments]:
        assert part in message


@pytest.mark.parametrize("arguments", [("anlyze",), ("sweep", "vit_b", "--dvice", "h100"), ("diff", "vit_b")])
def test_an_error_is_printed_with_its_code_once(arguments: tuple[str, ...]) -> None:
    """Of the group, of a command's parser, and of a command."""
    message = refused(*arguments)
    assert len(re.findall(r"\[[a-z-]+\]", message.partition("Error")[2] or message)) == 1


def test_the_presets_that_contain_a_word_are_all_of_them() -> None:
    message = refused("configs", "--show", "sam").removesuffix(" [ambiguous-name]")
    assert sorted(message.rpartition(": ")[2].split(", ")) == sorted(
        name for name in presets() if "sam" in name
    )


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
            ("config.json:1:1: ", "`samattn import config.json -o encoder.yaml`"),
        ),
        (
            "sam_vit_b.pth",
            "PK",
            ("sam_vit_b.pth: ", "`samattn import sam_vit_b.pth -o encoder.yaml`"),
        ),
        (
            "before.json",
            '{"schema_version": 1, "kind": "analysis"}',
            ("before.json:1:1: ", "(kind: analysis)"),
        ),
    ],
)
def test_files_that_are_not_configs_are_reported_with_what_takes_them(
    name: str, text: str, said: tuple[str, str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, "utf-8")
    Path("over.yaml").write_text(f"extends: {name}\n", "utf-8")
    for config in (name, "over.yaml"):
        message = refused("analyze", config, "--no-verify")
        assert [part for part in (*said, "[not-a-config]") if part not in message] == []


def test_help_is_a_command_too() -> None:
    assert same(("help", "analyze"), ("analyze", "--help")).stderr == ""
    assert same(("help",), ("--help",)).stderr == ""


def test_a_pair_in_brackets_is_one_size() -> None:
    same(
        ("analyze", "vit_b", "--image-size", "[448, 224]", *NO_VERIFY),
        ("analyze", "vit_b", "--image-size", "448x224", *NO_VERIFY),
    )


@pytest.mark.parametrize(
    ("arguments", "is_said"),
    [
        (("analyze", *SMALL, "--no-verify", "--chart", "memory"), True),
        (("analyze", *SMALL, "--no-verify", "--chart", "memory", "-f", "csv"), True),
        (("analyze", *SMALL, "--no-verify", "--chart", "memory", "-f", "json"), False),
        (("analyze", *SMALL, "--no-verify"), False),
        (("compare-placements", "sam_vit_b", "--search", "1", "--chart", "front"), True),
    ],
)
def test_a_chart_that_nothing_draws_is_noted(arguments: tuple[str, ...], is_said: bool) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert ("[needs-a-picture]" in result.stderr) == is_said


@pytest.mark.parametrize("other", ["report.json", "folder/../report.json", "link.json"])
def test_a_snapshot_does_not_replace_a_report(other: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to("report.json")
    said = refused(
        "analyze", *SMALL, "--no-verify", "--device", "h100", "--snapshot", "report.json", "-o", other
    )
    assert said.startswith("--snapshot report.json: ")
    assert said.endswith("[given-twice]")
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("verify vit_b -f html", "use -o report.html"),
        ("verify vit_b -f parquet", "does not write this format"),
        ("explain vit_b -f pdf", "does not write this format"),
        ("oom x vit_b -f svg", "does not write this format"),
        ("analyze vit_b -f sarif", "does not write this format"),
        ("analyze vit_b -f jsn", "did you mean 'json'?"),
    ],
)
def test_a_format_of_files_is_offered_where_the_command_writes_it(words: str, hint: str) -> None:
    said = refused(*words.split())
    assert hint in said
    assert "use -o" not in said.replace(hint, "")


def test_each_file_that_is_offered_can_be_written() -> None:
    """The formats of `-o` of each command, as its help names them, are those that a wrong `--format` offers."""
    assert "-o" not in refused("analyze", "vit_b", "--mode", "html")
    for command in ("verify", "diff", "fit", "check", "sweep"):
        for name in ("parquet", "svg", "html"):
            offered = "use -o" in refused(command, "vit_b", "-f", name)
            kept = refused(command, "vit_b", "-o", f"/nowhere/x.{name}")
            assert offered == ("[no-such-directory]" in kept), (command, name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sweep", "vit_b", "--image-size", "3"), "--image-size 3: image_size 3 [image-smaller-than-patch]"),
        (("sweep", "vit_b", "--image-size=512", "--vary", "image_size=64,96"), "--image-size [given-twice]"),
        (("sweep", "vit_b", "--resolutions", "9", "--image-size", "3"), "--resolutions 3: [image-smaller-than-patch]"),
        (("analyze", "vit_b", "--batch-sizes", "abc"), "--batch-sizes abc: run.batch_size [wrong-type]"),
        (("fit", "vit_b", "--GPU", "nothing"), "--GPU nothing: [file-not-found]"),
        (("analyze", "vit_b", "--output-format", "x"), "'--output-format' / '-f': 'x' [unknown-value]"),
        (("sweep", "vit_b", "--size"), "Option '--size' [bad-option]"),
    ],
)  # fmt: skip
def test_a_message_names_an_option_as_it_was_typed(arguments: tuple[str, ...], says: str) -> None:
    text, code = says.rsplit(" ", 1)
    said = refused(*arguments)
    assert code in said
    assert text in said
