"""Whether an encoder fits a device, what would lower its peak, and what would make it fit."""

from dataclasses import replace

import pytest

from samattn_cli import analyze, from_json, load_config, load_device, to_json
from samattn_cli.device.roofline import layer_time
from samattn_cli.encoder.hash import config_hash
from samattn_cli.tape.kernels import FLASH_ROWS
from samattn_cli.tape.training import training_step
from samattn_cli.units import format_bytes
from tests.support.running import samattn

GIB = 1 << 30


def report(*settings, device=None, preset="sam_vit_h"):
    return analyze(load_config(preset, settings), device=device and load_device(device), verify=False)


def finding(analysis, code):
    return next((found.message for found in analysis.findings if found.code == code), None)


def allocated(analysis):
    """What is allocated and reserved, as a finding says it."""
    totals = analysis.totals
    return f"{format_bytes(totals.allocated_bytes)} allocated, {format_bytes(totals.reserved_bytes)} reserved"


def test_vit_h_at_2048_does_not_fit_24_gb_and_its_global_layers_are_why():
    analysis = report("image_size=2048", device="rtx_4090")
    # scores of a global layer: 16 heads x 16,384^2 x 4 B = 16 GiB, three of them live while relative positions are added
    assert analysis.totals.peak_bytes > 3 * 16 * GIB
    assert not analysis.device.fits
    device = analysis.device
    assert device.allocated_bytes > analysis.totals.peak_bytes
    assert device.spare_bytes == device.usable_bytes - device.allocated_bytes
    assert analysis.device.too_large == tuple(f"blocks.{index}" for index in (7, 15, 23, 31))
    fused = allocated(report("image_size=2048", "run.attention=fused", device="rtx_4090"))
    assert finding(analysis, "what-makes-it-fit").startswith(
        f"On rtx_4090 fused attention (--set run.attention=fused: {fused}) makes it fit"
    )


def test_where_no_single_change_makes_it_fit_two_are_tried():
    analysis = report("image_size=2048", "run.mode=training", device="rtx_4090")
    assert not any(change.fits for change in analysis.changes)
    message = finding(analysis, "what-makes-it-fit")
    assert message.startswith("No single change makes it fit on rtx_4090; fused attention and checkpointing")
    sets = ("image_size=2048", "run.mode=training", "run.attention=fused", "run.checkpointing=true")
    assert allocated(report(*sets, device="rtx_4090")) in message


def test_where_nothing_makes_it_fit_that_is_reported():
    message = finding(report("image_size=8192", "run.mode=training", device="t4"), "what-makes-it-fit")
    assert message == "No one or two changes of kernel, type or checkpointing make it fit on t4."


def test_what_fits_needs_no_advice():
    analysis = report(device="h100")
    assert analysis.device.fits
    assert analysis.device.too_large == ()
    assert finding(analysis, "what-makes-it-fit") is None


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_each_change_gives_the_peak_that_its_settings_give(mode):
    analysis = report(f"run.mode={mode}", preset="sam_vit_b")
    now = analysis.totals.training_bytes if mode == "training" else analysis.totals.peak_bytes
    assert len(analysis.changes) >= 4
    for change in analysis.changes:
        totals = report(f"run.mode={mode}", *change.set, preset="sam_vit_b").totals
        peak = totals.training_bytes if mode == "training" else totals.peak_bytes
        assert change.peak_bytes == peak < now
        assert change.peak_bytes_saving == pytest.approx(1 - peak / now)
        assert change.fits is None
    peaks = [change.peak_bytes for change in analysis.changes]
    assert peaks == sorted(peaks)


def test_no_change_is_proposed_that_an_encoder_cannot_take():
    joint = report("rel_pos=joint", preset="sam_vit_b")
    assert {"sdpa attention", "bfloat16"} <= {change.change for change in joint.changes}
    assert "fused attention" not in {change.change for change in joint.changes}
    odd = report("embed_dim=780", "num_heads=60", preset="sam_vit_b")  # heads of 13
    assert not any("attention" in change.change for change in odd.changes)


def test_windows_save_no_inference_memory_but_half_of_training():
    message = finding(report(), "global-layer-sets-peak")
    assert "with all layers global it is 5.52 GiB" in message
    assert "26.72 GiB, 49.57 % less than 52.98 GiB with all layers global" in message


def test_times_of_layers_parts_and_optimizer_sum_to_that_of_the_step():
    analysis = report("run.mode=training", device="a100_80")
    rows = sum(place.latency_ms for place in (*analysis.parts, *analysis.layers))
    assert rows + analysis.training.optimizer_ms == pytest.approx(analysis.totals.latency_ms)
    inference = report(device="a100_80")
    rows = sum(place.latency_ms for place in (*inference.parts, *inference.layers))
    assert rows == pytest.approx(inference.totals.latency_ms)
    assert inference.training.optimizer_ms is None
    against = inference.comparison.vs_all_global
    assert against.latency_ratio == against.latency_ms / inference.totals.latency_ms > against.flops_ratio


@pytest.mark.parametrize(
    "changes", [(), ("run.checkpointing=true",), ("run.attention=sdpa", "run.autocast=bfloat16")]
)
def test_the_time_of_a_whole_step_is_that_of_forward_backward_and_optimizer(changes):
    training = report("run.mode=training", *changes, device="a100_80").training
    phases = training.forward_ms, training.backward_ms, training.optimizer_ms
    assert sum(phases) == pytest.approx(training.step_ms)
    assert min(phases) > 0
    inference = report(*changes, device="a100_80")
    assert inference.training.step_ms is inference.training.backward_ms is None


def test_checkpointing_runs_the_forwards_of_blocks_again_in_the_backward():
    plain, checkpointed = (
        report("run.mode=training", f"run.checkpointing={word}", device="a100_80").training
        for word in ("false", "true")
    )
    inference = report(device="a100_80")
    again = sum(layer.latency_ms for layer in inference.layers)
    assert plain.forward_ms == checkpointed.forward_ms == pytest.approx(inference.totals.latency_ms)
    more = checkpointed.backward_ms - plain.backward_ms
    assert again / 2 < more < again  # the last product of a block is not run again


def test_the_report_of_a_training_step_has_a_line_with_its_time():
    arguments = ("analyze", "sam_vit_b", "--mode", "training", "--device", "rtx_4090", "--no-verify")
    lines = [" ".join(line.split()) for line in samattn(*arguments, columns=160).stdout.splitlines()]
    assert "time of a whole step 118.7 ms 216.9 ms 69.59 ms" in lines
    (line,) = (line for line in lines if line.startswith("- time of"))
    assert line.startswith(
        "- time of a whole step (forward 46.31 ms, backward 65.25 ms, optimizer 7.12 ms): 118.7 ms,"
    )


def test_a_device_without_units_of_the_type_is_reported():
    result = samattn("analyze", "sam_vit_b", "--no-verify", "--device", "t4", "--dtype", "bfloat16")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(" [no-such-unit]\n")


def test_a_report_with_a_device_comes_back_from_json():
    analysis = report("run.mode=training", device="l4", preset="sam_vit_b")
    assert from_json(to_json(analysis)) == analysis


def test_runs_of_layers_that_do_not_fit_are_one_range():
    command = ("analyze", "sam_vit_h", "--full", "--no-verify", "--mode", "training", "--image-size", "2048")
    text = " ".join(samattn(*command, "--device", "rtx_4090").stdout.split())
    assert "too large for it: blocks.7 to blocks.31, neck" in text


def test_attention_backward_takes_a_workspace_that_no_trace_sees():
    """ViT-B, a global layer of 4,096 tokens, 12 heads of 64: row sums, and the queries' gradient in float32.

    Heads of 64 are 192 with folded positions: three tiles of 64 columns, each of 128 rows with a head of 4 numbers. Gradients of
    keys and values (192 and 64 numbers, in whole tiles of 128) are in float32 too, 64 rows for each of 200 // 12 splits of a head.
    """
    settings = ["run.dtype=bfloat16", "run.checkpointing=true", "run.optimizer=sgd"]
    rows, tiles, splits = 12 * 4096, 12 * (4096 // 128) * 3, 12 * (200 // 12)
    for kernel, rel_pos, expected in (
        ("fused", "decomposed", (rows + tiles * (128 * 64 + 4) + splits * 64 * (256 + 128)) * 4),
        ("sdpa", "none", rows * 4 + rows * 64 * 4),  # flash attention: 4,096 is whole in rows of 128
    ):
        step = training_step(
            load_config("sam_vit_b", [*settings, f"run.attention={kernel}", f"rel_pos={rel_pos}"])
        )
        backward = dict(zip([s.name for s in step.forward.segments], step.recordings, strict=True))
        (op,) = (op for op in backward["blocks.2"].ops if op.kind == "sdpa" and op.name.endswith("backward"))
        assert op.workspace_bytes == expected
    assert 4096 % FLASH_ROWS == 0


def test_a_recording_is_found_by_what_a_config_says_not_by_its_name_or_what_it_leaves_out():
    config = load_config("sam_vit_b")
    same = replace(config, name="mine", description="", run=replace(config.run, optimizer="sgd"))
    assert config_hash(same) == config_hash(config)  # an inference has no optimizer
    training = replace(config.run, mode="training")
    with_adamw, with_sgd = (
        replace(config, run=replace(training, optimizer=name)) for name in ("adamw", "sgd")
    )
    assert len({config_hash(each) for each in (config, with_adamw, with_sgd)}) == 3


def test_what_was_measured_is_shown_next_to_what_was_predicted():
    analysis = report("image_size=512", preset="sam_vit_b")
    measured, on_gpu = analysis.measured
    assert (measured.kind, measured.status) == ("cpu", "measured")
    assert (on_gpu.kind, on_gpu.device) == ("cuda", "NVIDIA H200")
    assert abs(measured.error) < 0.001
    assert report("image_size=528", preset="sam_vit_b").measured == ()
    text = samattn("analyze", "sam_vit_b", "--no-verify", "--image-size", "512", columns=160).stdout
    assert f"on {measured.device}, torch 2.13.0: peak 498.4 MiB (predicted" in text


def test_a_note_of_what_backward_asks_for_is_no_kernel_and_takes_no_time():
    device = load_device("h100")
    config = load_config("sam_vit_b", ["run.mode=training"])
    ops = training_step(config).recordings[4].ops
    notes = [op for op in ops if op.kind == "unpack"]
    assert len(notes) == 1
    assert layer_time(notes, device, config.run).ms == 0
    assert layer_time(ops, device, config.run) == layer_time(
        [op for op in ops if op.kind != "unpack"], device, config.run
    )
