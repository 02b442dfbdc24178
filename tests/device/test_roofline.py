import random
import subprocess
import sys
from dataclasses import replace
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import analyze, load_config
from samattn_cli.device.fitting import Case, calibrate, relative_errors, with_calibration
from samattn_cli.device.load import load_device
from samattn_cli.device.model import Calibration, PeakFlops, ProductShares, TrafficShares
from samattn_cli.device.roofline import (
    BOUNDS,
    OpTime,
    layer_time,
    memory_ms,
    op_time,
    product_ms,
    unit_of,
    vector_ms,
)
from samattn_cli.encoder.model import RunConfig
from samattn_cli.encoder.presets import devices
from samattn_cli.errors import UsageError
from samattn_cli.studies.passes import Passes
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.ops import Op
from samattn_cli.tape.tape import Tape
from tests.support.problems import Known
from tests.support.sampling import examples

PROPERTY = settings(max_examples=examples(300), deadline=None, derandomize=True)
H100 = load_device("h100")
BFLOAT16, FLOAT32 = RunConfig(dtype="bfloat16"), RunConfig()
MS_PER_US = 1e-3


def op(kind="matmul", **costs):
    return Op(name="x", kind=kind, module="", **costs)


def one(record, item_bytes=2):
    """The one operation that `record` puts on a tape."""
    tape = Tape(item_bytes)
    record(tape)
    (recorded,) = (found for found in tape.recording().ops if found.kind != "free")
    return recorded


# Worked by hand


def test_a_linear_layer_of_vit_h_in_bfloat16_on_an_h100():
    """qkv of a global block: 4,096 tokens of 1,280 channels to 3,840."""
    qkv = one(lambda tape: tape.linear("qkv", tape.tensor(1, 64, 64, 1280), 3840))
    flops = 2 * 4096 * 1280 * 3840
    nbytes = 2 * (4096 * 1280 + 1280 * 3840 + 3840 + 4096 * 3840)
    assert (flops, nbytes) == (40_265_318_400, 51_781_120)
    time = op_time(qkv, H100, BFLOAT16)
    assert time.compute_ms == pytest.approx(40.697 * MS_PER_US, rel=1e-4)  # 40,265,318,400 / 989.4e12
    assert time.memory_ms == pytest.approx(15.457 * MS_PER_US, rel=1e-4)  # 51,781,120 / 3.35e12
    assert time.launch_ms == pytest.approx(5 * MS_PER_US)
    assert time.time_ms == pytest.approx(45.697 * MS_PER_US, rel=1e-4)
    assert (time.bound, time.calibrated) == ("compute", False)
    layer = layer_time([qkv], H100, BFLOAT16)
    assert (layer.ms, layer.bound, layer.calibrated) == (time.time_ms, "compute", False)
    assert layer.share_of_peak == pytest.approx(40.697 / 45.697, rel=1e-4)


def addition(elements):
    """Of two activations in bfloat16."""
    return op("add", elementwise_flops=elements, bytes_read=2 * 2 * elements, bytes_written=2 * elements)


def test_an_addition_of_two_activations_is_bound_by_memory():
    time = op_time(addition(64 * 64 * 1280), H100, BFLOAT16)
    assert time.memory_ms == pytest.approx(9.3902 * MS_PER_US, rel=1e-4)  # 3 x 10,485,760 / 3.35e12
    assert time.compute_ms == pytest.approx(0.078368 * MS_PER_US, rel=1e-4)  # 5,242,880 / 66.9e12
    assert (time.bound, time.time_ms) == ("memory", time.memory_ms + time.launch_ms)


def test_a_small_one_is_bound_by_its_launch():
    assert op_time(addition(8 * 8 * 64), H100, BFLOAT16).bound == "launch"


def test_a_kernel_with_both_uses_tensor_and_cuda_cores_at_once():
    attention = op("sdpa", macs=10**9, elementwise_flops=10**9)
    time = op_time(attention, H100, BFLOAT16)
    assert time.compute_ms == vector_ms(attention, H100) > product_ms(attention, H100, BFLOAT16)


def test_a_free_takes_no_time():
    assert op_time(op("free"), H100, BFLOAT16) == OpTime(0.0, 0.0, 0.0)
    assert layer_time([op("free")], H100, BFLOAT16).ms == 0


def test_a_layer_is_bound_by_what_most_of_its_time_is_due_to():
    long_copy, short_product = op("copy", bytes_read=10**10), op(macs=10**12)
    assert op_time(short_product, H100, BFLOAT16).bound == "compute"
    assert layer_time([long_copy, short_product], H100, BFLOAT16).bound == "memory"
    assert layer_time([op("copy")] * 3, H100, BFLOAT16).bound == "launch"


# Units


UNITS = [
    ({"dtype": "bfloat16"}, "h100", "bfloat16", "bfloat16"),
    ({"dtype": "float16"}, "t4", "float16", "float16"),
    ({}, "h100", "float32", "tf32"),  # torch.backends.cudnn.allow_tf32 is True by default
    ({"tf32": True}, "h100", "tf32", "tf32"),
    ({"tf32": True}, "t4", "float32", "float32"),
    ({}, "cpu", "float32", "float32"),
    ({"autocast": "bfloat16"}, "h100", "bfloat16", "bfloat16"),
    ({"autocast": "float16", "tf32": True}, "h100", "float16", "float16"),
    ({"dtype": "bfloat16", "tf32": True}, "h100", "bfloat16", "bfloat16"),
]


@pytest.mark.parametrize(("run", "name", "linear", "conv2d"), UNITS)
def test_products_run_on_the_unit_of_their_type(run, name, linear, conv2d):
    device = load_device(name)
    found = [unit_of(kind, device, RunConfig(**run)) for kind in ("linear", "matmul", "sdpa", "conv2d")]
    assert found == [linear, linear, linear, conv2d]
    peak = getattr(device.peak_flops, conv2d)
    assert product_ms(op("conv2d", macs=10**9), device, RunConfig(**run)) == pytest.approx(2e12 / peak)


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("t4", "bfloat16", "[no-such-unit] t4 bfloat16 float32 float16"),
        ("cpu", "float16", "[no-such-unit] cpu float16 float32 bfloat16"),
    ],
)
def test_a_device_without_the_units_says_what_it_has(name, dtype, message):
    with pytest.raises(UsageError) as caught:
        layer_time([op(macs=1)], load_device(name), RunConfig(dtype=dtype))
    assert Known("", caught.value.message) == message
    assert caught.value.exit_code == 2


def test_a_device_with_one_type_of_units_says_so():
    device = replace(H100, peak_flops=PeakFlops(float32=1e12))
    with pytest.raises(UsageError) as caught:
        op_time(op(macs=1), device, RunConfig(dtype="float16"))
    assert Known("", caught.value.message) == "[no-such-unit] h100 float16 float32"


# Properties


COSTS = st.fixed_dictionaries(
    {name: st.integers(0, 10**13) for name in ("macs", "elementwise_flops", "bytes_read", "bytes_written")}
)
KINDS = st.sampled_from(["linear", "matmul", "conv2d", "sdpa", "softmax", "copy", "cat", "layer_norm"])
OPS = st.builds(lambda kind, costs: op(kind, **costs), KINDS, COSTS)
DEVICES = st.sampled_from([load_device(name) for name in devices()])


@PROPERTY
@given(kind=KINDS, costs=COSTS, more=st.sampled_from(["macs", "bytes_read", "bytes_written"]), device=DEVICES)
def test_more_work_never_takes_less_time(kind, costs, more, device):
    less = op_time(op(kind, **costs), device, FLOAT32)
    greater = op_time(op(kind, **{**costs, more: 2 * costs[more] + 1}), device, FLOAT32)
    assert greater.time_ms >= less.time_ms


@PROPERTY
@given(ops=st.lists(OPS, max_size=8), device=DEVICES)
def test_a_layer_takes_the_sum_of_its_operations(ops, device):
    times = [op_time(each, device, FLOAT32) for each in ops]
    layer = layer_time(ops, device, FLOAT32)
    assert layer.ms == pytest.approx(sum(time.time_ms for time in times))
    assert layer.bound in BOUNDS
    assert 0 <= layer.share_of_peak <= 1
    for time in times:
        assert time.time_ms >= max(time.compute_ms, time.memory_ms, time.launch_ms)


@PROPERTY
@given(each=OPS, device=DEVICES, share=st.floats(0.01, 1))
def test_a_smaller_share_takes_longer(each, device, share):
    shares = ProductShares(linear=share, matmul=share, conv2d=share, sdpa=share)
    traffic = TrafficShares(elementwise=share, copy=share)
    measured = Calibration(recorded_on="x", compute=shares, memory=traffic, launch_overhead_us=5)
    slower = op_time(each, with_calibration(device, "float32", measured), FLOAT32)
    faster = op_time(each, device, FLOAT32)
    assert max(slower.compute_ms, slower.memory_ms) >= max(faster.compute_ms, faster.memory_ms)
    assert slower.memory_ms == pytest.approx(faster.memory_ms / share)
    assert slower.calibrated
    assert not faster.calibrated


# Calibration


TRUTH = Calibration(
    recorded_on="made up",
    compute=ProductShares(linear=0.62, matmul=0.21, conv2d=0.33),
    memory=TrafficShares(elementwise=0.83, copy=0.45),
    launch_overhead_us=3.3,
)
TRUE_H100 = with_calibration(H100, "float32", TRUTH)


def cases(noise, sizes=(256, 512, 768, 1024)):
    """Each kind of layer of ViT-B at some sizes, as long as TRUTH says, give or take some."""
    dice = random.Random(0)
    configs = [
        load_config("sam_vit_b", [f"image_size={size}", f"run.batch_size={n}"])
        for size in sizes
        for n in (1, 2, 4)
    ]
    recordings = [r for config in configs for r in {s.recording for s in forward(config).segments}]
    recordings.sort(key=lambda recording: (recording.macs, len(recording.ops)))
    timed = [
        Case(r.ops, layer_time(r.ops, TRUE_H100, FLOAT32).ms * exp(dice.gauss(0, noise))) for r in recordings
    ]
    dice.shuffle(timed)
    return timed


def errors(found, judged):
    return sorted(map(abs, relative_errors(judged, with_calibration(H100, "float32", found), FLOAT32)))


def test_known_factors_are_found_from_half_of_the_cases_and_predict_the_others():
    timed = cases(noise=0)
    found = calibrate(timed[::2], H100, FLOAT32, "made up")
    assert found.compute.linear == pytest.approx(0.62, rel=0.02)
    assert found.compute.matmul == pytest.approx(0.21, rel=0.02)
    assert found.compute.conv2d == pytest.approx(0.33, rel=0.02)
    assert found.memory.elementwise == pytest.approx(0.83, rel=0.02)
    assert found.memory.copy == pytest.approx(0.45, rel=0.02)
    assert found.launch_overhead_us == pytest.approx(3.3, rel=0.02)
    assert (found.compute.sdpa, found.recorded_on) == (None, "made up")
    assert errors(found, timed[1::2])[-1] < 0.01


def test_noise_of_some_percent_gives_errors_of_some_percent():
    timed = cases(noise=0.03)
    judged = errors(calibrate(timed[::2], H100, FLOAT32, "made up"), timed[1::2])
    assert judged[len(judged) // 2] < 0.04
    assert judged[-1] < 0.15


def test_a_factor_that_no_time_depends_on_is_left_out():
    streams = [op("add", bytes_read=10**9 * n) for n in range(1, 5)]
    products = [op("matmul", macs=10**6, bytes_read=10**9 * n) for n in range(1, 5)]  # all bound by memory
    true = with_calibration(H100, "bfloat16", replace(TRUTH, launch_overhead_us=300.0))
    timed = [Case([each], op_time(each, true, BFLOAT16).time_ms) for each in (*streams, *products)]
    found = calibrate(timed, H100, BFLOAT16, "made up")
    assert found.compute == ProductShares()
    assert found.memory.elementwise == pytest.approx(0.83, rel=0.02)
    assert found.launch_overhead_us == pytest.approx(300, rel=0.02)


def test_where_there_is_no_overhead_and_a_cache_helps_the_datasheet_does_not_come_back():
    """No time depends on a factor near to these, but every time would on the datasheet's."""
    truth = replace(
        TRUTH,
        memory=TrafficShares(elementwise=9.0, copy=9.0),
        launch_overhead_us=1e-6,
        compute=ProductShares(),
    )
    true = with_calibration(H100, "bfloat16", truth)
    works = [op("matmul", macs=10**10 * n, bytes_read=10**8 * n) for n in range(1, 5)]
    moves = [op("copy", bytes_read=10**9 * n) for n in range(1, 5)]
    timed = [Case([each], op_time(each, true, BFLOAT16).time_ms) for each in (*works, *moves)]
    found = calibrate(timed, H100, BFLOAT16, "made up")
    assert found.launch_overhead_us == 0.01
    judged = relative_errors(timed, with_calibration(H100, "bfloat16", found), BFLOAT16)
    assert max(map(abs, judged)) < 0.01


def test_twins_weigh_as_many_as_they_are():
    """The factor of three times of one case and one of another is that of the geometric mean."""
    true = with_calibration(H100, "float32", replace(TRUTH, launch_overhead_us=1e-6))
    streams = [op("add", bytes_read=10**12 * n) for n in range(1, 5)]
    timed = [
        Case([each], op_time(each, true, FLOAT32).time_ms * factor)
        for each in streams
        for factor in (1, 1, 1, 16)
    ]
    found = calibrate(timed, H100, FLOAT32, "made up")
    assert found.memory.elementwise == pytest.approx(0.83 / 2, rel=1e-3)


def test_factors_are_what_a_device_file_keeps_of_them():
    found = calibrate(cases(noise=0.03), H100, FLOAT32, "made up")
    shares = [*vars(found.compute).values(), *vars(found.memory).values(), found.launch_overhead_us]
    assert all(share is None or share == float(f"{share:.4g}") for share in shares)


def test_too_few_cases_are_an_error():
    with pytest.raises(UsageError) as caught:
        calibrate([Case([op(macs=10**9)], 1.0)] * 20, H100, BFLOAT16, "x")
    assert Known("", caught.value.message) == "[too-few-cases] 3 elementwise matmul launch_overhead_us 6 1"


@pytest.mark.parametrize("measured_ms", [0, -1.0, float("nan")])
def test_a_time_that_is_none_is_an_error(measured_ms):
    with pytest.raises(UsageError) as caught:
        calibrate([Case([op(macs=10**9)], measured_ms)], H100, BFLOAT16, "x")
    assert caught.value.codes == ("time-not-positive",)


def test_a_calibration_holds_for_runs_on_its_unit_only():
    device = with_calibration(H100, "bfloat16", TRUTH)
    product = op("linear", macs=10**12)
    assert op_time(product, device, BFLOAT16).compute_ms == pytest.approx(2e15 / 989.4e12 / 0.62)
    assert op_time(product, device, BFLOAT16).calibrated
    assert op_time(product, device, RunConfig(autocast="bfloat16")).calibrated
    assert op_time(product, device, FLOAT32) == op_time(product, H100, FLOAT32)


def test_what_was_not_measured_is_by_the_datasheet_and_says_so():
    device = with_calibration(H100, "bfloat16", TRUTH)
    attention = op("sdpa", macs=10**12, bytes_read=1)
    assert op_time(attention, device, BFLOAT16).compute_ms == pytest.approx(2e15 / 989.4e12)
    assert not op_time(attention, device, BFLOAT16).calibrated
    assert not layer_time([op("linear", macs=1), attention], device, BFLOAT16).calibrated


# A whole encoder


def test_the_latency_of_an_encoder_is_that_of_its_operations():
    passes = Passes(load_config("sam_vit_b", ["run.dtype=bfloat16"]), H100)
    every = [each for segment in passes.forward.segments for each in segment.recording.ops]
    assert passes.latency.ms == pytest.approx(sum(op_time(each, H100, BFLOAT16).time_ms for each in every))
    assert passes.latency.ms == pytest.approx(sum(time.ms for time in passes.times))
    names = [segment.name for segment in passes.forward.segments]
    times = dict(zip(names, passes.times, strict=True))
    assert times["blocks.0"] is times["blocks.1"]  # one recording, timed once
    assert times["blocks.0"].ms < times["blocks.2"].ms
    assert not passes.latency.calibrated


def test_the_latency_of_a_training_step_is_that_of_its_sections():
    config = load_config("sam_vit_b", ["run.mode=training", "run.checkpointing=true"])
    passes = Passes(config, H100)
    names = [segment.name for segment in passes.forward.segments]
    pairs = [*((name, "forward") for name in names), *((name, "backward") for name in names)]
    assert list(passes.sections) == [*pairs, ("optimizer", "step")]
    total = sum(layer_time(ops, H100, config.run).ms for ops in passes.sections.values())
    optimizer = layer_time(passes.sections["optimizer", "step"], H100, config.run).ms
    assert passes.latency.ms == pytest.approx(total)
    assert passes.latency.ms == pytest.approx(sum(time.ms for time in passes.times) + optimizer)
    assert set(passes.sections) == set(passes.step.peaks)


def test_a_faster_memory_is_faster():
    config = load_config("sam_vit_b")
    found = {
        name: Passes(config, load_device(name)).latency.ms for name in ("h100", "h200", "a100_40", "a100_80")
    }
    assert found["h200"] < found["h100"]
    assert found["a100_80"] < found["a100_40"]


def test_an_encoder_fits_where_its_peak_is_at_most_what_a_process_has():
    config = load_config("sam_vit_h")
    peak = Passes(config).peak_bytes
    found = analyze(config, device=load_device("l4"), verify=False).device
    assert (peak, found.allocated_bytes, found.fits) == (5_922_952_192, 5_990_061_056, True)
    assert found.spare_bytes == found.usable_bytes - 5_990_061_056
    other = replace(H100, compute_capability=None)  # where what is live decides
    for spare, fits in ((0, True), (-1, False)):
        reserved = H100.memory_bytes - peak - spare
        found = analyze(config, device=replace(other, reserved_bytes=reserved), verify=False).device
        assert (found.usable_bytes, found.spare_bytes, found.fits) == (peak + spare, spare, fits)


def test_the_roofline_needs_neither_torch_nor_numpy_nor_pydantic():
    code = "import sys, samattn_cli.studies.passes, samattn_cli.device.roofline\n"
    code += "import samattn_cli.device.write\n"
    code += "print({'torch', 'numpy', 'pydantic'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_bytes_are_those_of_reads_and_writes():
    assert memory_ms(op(bytes_read=3, bytes_written=4), H100) == pytest.approx(7e3 / 3.35e12)
