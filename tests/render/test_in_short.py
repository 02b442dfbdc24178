"""The answer in short that `samattn analyze` begins with."""

import shlex
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.device.load import load_device
from samattn_cli.device.model import Device
from samattn_cli.files.load import load_config
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.render.pages.in_short import in_short
from samattn_cli.studies import installed_torch
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.fit import candidate
from samattn_cli.verdicts import Check, CrossCheck

GIB = 2**30
BIG = ("sam_vit_h", "--image-size", "2048", "--device", "rtx_4090", "--no-verify")


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed torch of another version may be named in three lines more."""
    monkeypatch.setattr(installed_torch, "installed", lambda: "")


def printed(*words: str, columns: int = 80) -> list[str]:
    result = CliRunner().invoke(app, ["analyze", *words], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_verdict_and_what_fixes_it_are_in_the_first_eight_lines() -> None:
    lines = printed(*BIG)
    assert len(lines) <= 60
    short = lines[: lines.index("")]
    assert len(short) == 8
    assert short == printed(*BIG, "--brief")
    assert "652.8 M parameters, 27.99 TFLOP (all global: 2.32x)" in short[1]
    assert "51.13 GiB at blocks.7.attn.add_rel_w; training 157.5 GiB" in short[2]
    assert short[3] == "✗ does not fit rtx_4090 (23.17 GiB): it lacks 29.72 GiB, first in blocks.7"
    assert "F.scaled_dot_product_attention" in " ".join(short[5:7])
    assert short[7] == "! not cross-checked: leave out --no-verify"


@pytest.mark.parametrize(
    "words",
    [
        BIG,
        (
            *BIG,
            "--attention",
            "sdpa",
            "--mode",
            "training",
        ),  # its own options must not win over those of the fix
        ("sam_vit_b", "--memory", "8GiB", "--mode", "training", "--no-checkpointing", "--no-verify"),
        ("vit_h", "--image-size", "2048", "--device", "rtx_4090", "--mode", "training", "--no-verify"),
        ("swin_t", "--memory", "300MiB", "--mode=training", "--set", "run.dtype=float32", "--no-verify"),
    ],
)
def test_the_command_that_fixes_it_makes_it_fit(words: tuple[str, ...]) -> None:
    lines = printed(*words, "--brief")
    assert len(lines) <= 8
    [command] = [line for line in lines if line.lstrip().startswith("samattn analyze")]
    _, _, *fixed = shlex.split(command)
    [verdict] = [line for line in printed(*fixed, "--brief", "--no-verify") if "fit" in line]
    assert verdict.startswith("✓ fits")


def test_the_command_that_fixes_it_writes_no_file() -> None:
    report = analyze(load_config("sam_vit_b"), memory=GIB, verify=False)
    files = ("-o", "a b.html", "--output=b.json", "-oc.md", "--snapshot", "d.pickle")
    words = ("analyze", "sam_vit_b", *files, "--memory", "1GiB")
    [command] = [each.command for each in in_short(report, Options(command=words)) if each.command]
    assert command == "samattn analyze sam_vit_b --memory 1GiB --attention fused"


def test_an_amount_of_memory_is_compared_with_the_peak_to_the_byte() -> None:
    config = load_config("custom_encoder", ())
    peak = analyze(config, verify=False).totals.peak_bytes
    fits, lacks = (analyze(config, memory=peak - less, verify=False) for less in (0, 1))
    assert fits.memory is not None
    assert lacks.memory is not None
    assert (fits.memory.fits, fits.memory.spare_bytes, fits.fix) == (True, 0, None)
    assert (lacks.memory.fits, lacks.memory.spare_bytes) == (False, -1)
    assert lacks.fix is not None
    assert lacks.fix.peak_bytes < peak


def test_a_change_of_the_model_is_named_only_if_no_other_fits() -> None:
    config = load_config("sam_vit_h", ["image_size=2048", "run.attention=fused"])
    report = analyze(config, memory=3 * GIB, verify=False)  # half of its weights and activations: bfloat16
    assert report.fix is not None
    assert report.fix.keeps_model


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("exact", "✓ exact: "),
        ("differs", "✗ differs from the real PyTorch stack: memory trace (below)"),
        ("failed", "✗ the cross-check failed: memory trace (below)"),
        ("skipped", "! exact in part: parameters, fvcore, FlopCounterMode; not memory trace (below)"),
    ],
)
def test_each_outcome_of_the_cross_check_has_a_sign_and_a_colour(status: str, line: str) -> None:
    exact = Check("exact")
    checked = CrossCheck(exact, exact, exact, Check(status))  # type: ignore[arg-type]
    report = replace(analyze(load_config("custom_encoder", ()), verify=False), crosscheck=checked)
    text = render(report, "terminal", Options(width=100))
    assert any(each.startswith(line) for each in text.splitlines())
    assert ("Cross-check against the real stack" in text) == (status != "exact")
    assert "\x1b[" not in text
    assert "\x1b[1;3" in render(report, "terminal", Options(width=100, color=True, brief=True))
    assert "✓" not in render(report, "terminal", Options(ascii=True))


def test_markdown_begins_with_the_same_lines_and_has_everything() -> None:
    report = analyze(load_config("custom_encoder", ()), memory=GIB // 64, verify=False)
    lines = render(report, "markdown", Options()).splitlines()
    assert lines[2].startswith("- 768x768") or "parameters" in lines[2]
    assert lines[4].startswith("- ✗ **does not fit** in 16.00 MiB: it lacks")
    assert "## Share of FLOPs" in lines


def test_a_step_on_several_gpus_leaves_what_is_said_twice_and_long_remedies_to_full() -> None:
    words = ("sam_vit_b", "--mode", "training", "--set", "run.parallel=fsdp2", "--set", "run.gpus=8")
    words = (*words, "--device", "a100_40", "--no-verify")
    lines, full = printed(*words), " ".join(printed(*words, "--full"))
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    assert any(
        line.endswith("--set global_attn_indexes=none") for line in lines
    )  # not broken, so it can be copied
    assert "3 other changes lower it less: --full shows them." in lines
    assert "time of the forward" not in " ".join(lines)
    assert "ignored_params" not in " ".join(lines)
    for word in ("time of the forward", "ignored_params", "sdpa attention"):
        assert word in full


@pytest.mark.parametrize(
    "preset",
    [
        "swin_l",
        *(
            pytest.param(each, marks=pytest.mark.exhaustive)
            for each in ("sam_vit_h", "sam2_hiera_l", "vitdet_b_fpn", "hiera_l")
        ),
    ],
)
def test_a_step_on_several_gpus_takes_60_lines_and_layers_that_take_turns_two(preset: str) -> None:
    words = (preset, "--mode", "training", "--set", "run.parallel=fsdp2", "--set", "run.gpus=8")
    lines = printed(*words, "--device", "a100_80", "--no-verify")
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    if preset == "swin_l":  # 24 blocks, of which 18 are in the third stage; the last two are global
        rows = [
            line.split()[:2] for line in lines if " shift " in line or "window 7x7" in line or "×" in line
        ]
        labels = [" ".join(row) for row in rows]
        assert labels == ["0 window", "1 7x7", "2 window", "3 7x7", "4,6..20 ×9", "5,7..21 ×9", "22-23 ×2"]
        assert any(line.startswith("  - forward ") for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--device", "rtx_4090"),
        ("--mode", "training"),
        ("--image-size", "2048", "--device", "rtx_4090", "--mode", "training"),
    ],
)
def test_a_large_encoder_takes_at_most_sixty_lines(words: tuple[str, ...]) -> None:
    assert len(printed("sam_vit_h", "--no-verify", *words)) <= 60


def test_a_step_is_a_sentence_unless_the_report_is_full() -> None:
    words = ("vit_b", "--no-verify", "--mode", "training", "--checkpointing")
    lines = printed(*words)
    step = " ".join(lines[lines.index("Training step") + 1 :])
    assert "; gradients " in step
    assert "of which computed again " in step
    assert "activations kept by the forward" in step
    assert any(line.startswith("gradients ") for line in printed(*words, "--full"))  # a row of a table


@pytest.mark.parametrize(
    ("preset", "settings", "device"),
    [
        ("sam_vit_h", ["run.mode=training"], load_device("rtx_4090")),
        ("sam_vit_b", ["run.mode=training", "run.batch_size=8"], load_device("t4")),  # two changes
        ("sam_vit_b", ["run.mode=training"], replace(load_device("cpu"), memory_bytes=12 * GIB)),
    ],
)
def test_the_fix_takes_on_a_device_what_fit_says(preset: str, settings: list[str], device: Device) -> None:
    report = analyze(load_config(preset, settings), device=device, verify=False)
    assert report.fix is not None
    assert report.device is not None
    here = candidate(report.config, device)
    assert (report.device.stopped_at, report.device.too_large) == (here.stopped_at, here.too_large)
    there = candidate(load_config(preset, [*settings, *report.fix.set]), device)
    assert report.fix.peak_bytes == there.peak_bytes
    assert report.fix.allocated_bytes == there.allocated_bytes
    assert report.fix.reserved_bytes == there.reserved_bytes
    assert (there.allocated_bytes is None) == (device.name == "cpu")


def test_a_run_is_said_to_stop_first_where_it_stops_in_time() -> None:
    words = ("sam_vit_h", "--mode", "training", "--device", "rtx_4090", "--no-verify", "--brief")
    lines = printed(*words)
    assert lines[3].endswith(
        "it lacks 6.38 GiB, first in blocks.30"
    )  # in a backward; blocks.29 has its own later
    assert lines[5].startswith("  fits (13.42 GiB allocated). PyTorch: ")
    assert "13.42 GiB allocated, 16.33 GiB reserved" in " ".join(printed(*words[:-1], "-f", "markdown"))
