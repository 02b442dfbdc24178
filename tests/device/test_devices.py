import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from samattn_cli.device.load import device_source, load_device
from samattn_cli.device.model import (
    Calibration,
    Calibrations,
    Device,
    InterconnectSources,
    PeakFlops,
    PeakSources,
    ProductShares,
    Sources,
    TrafficShares,
)
from samattn_cli.device.write import calibrated_yaml, with_calibrated
from samattn_cli.encoder.presets import devices
from samattn_cli.errors import ConfigError, UsageError
from samattn_cli.quantities import parse_bytes
from tests.support.problems import message_of
from tests.support.problems import problems_of as known_problems

MIB, GIB = 1 << 20, 1 << 30
SHIPPED = sorted(devices())

TINY = """\
memory_size: 8 GB
memory_bytes: 8000000000
reserved_bytes: 1000000000
bandwidth_bytes_per_s: 1e11
launch_overhead_us: 5
vector_flops: 1e12
peak_flops: {float32: 1e12, float16: 4e12}
sources:
  memory_bytes: its datasheet
  reserved_bytes: an estimate
  bandwidth_bytes_per_s: its datasheet
  launch_overhead_us: an estimate
  vector_flops: its datasheet
  peak_flops: {float32: its datasheet, float16: its datasheet}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text, name="d.yaml"):
    Path(name).write_text(text)
    return name


def problems_of(reference):
    with pytest.raises(ConfigError) as caught:
        load_device(reference)
    return known_problems(caught)


def problems_in(text):
    return problems_of(write(text))


def with_line(line):
    """TINY with a line of it in another form, or gone for a bare key."""
    key = line.partition(":")[0]
    assert re.search(rf"(?m)^{key}:", TINY)
    return re.sub(rf"(?m)^{key}: .*\n", line + "\n" if ":" in line else "", TINY)


# What ships


TABLE = {  # TB/s, then dense TFLOP/s in float32, TF32, bfloat16 and float16
    "h100": (3.35, 66.9, 494.7, 989.4, 989.4),
    "h200": (4.8, 66.9, 494.7, 989.4, 989.4),
    "a100_40": (1.555, 19.5, 156, 312, 312),
    "a100_80": (2.039, 19.5, 156, 312, 312),
    "l40s": (0.864, 91.6, 183, 362.05, 362.05),
    "l4": (0.3, 30.3, 60, 121, 121),
    "t4": (0.32, 8.1, None, None, 65),
    "rtx_3090": (0.936, 35.6, 35.6, 71, 71),
    "rtx_4090": (1.008, 82.6, 82.6, 165.2, 165.2),
    "rtx_5090": (1.792, 104.8, 104.8, 209.5, 209.5),
    "jetson_orin": (0.2048, 5.3, 21.25, 42.5, 42.5),
    "cpu": (0.4608, 7.37, None, 14.75, None),
}


def tera(figure):
    return None if figure is None else pytest.approx(figure * 1e12)


@pytest.mark.parametrize("name", sorted({*SHIPPED, *TABLE}))
def test_each_device_loads_with_its_figures(name):
    device = load_device(name)
    peaks = [getattr(device.peak_flops, field.name) for field in fields(PeakFlops)]
    assert [device.bandwidth_bytes_per_s, *peaks] == [tera(figure) for figure in TABLE[name]]
    assert device.vector_flops == device.peak_flops.float32
    assert (device.name, bool(device.description)) == (name, True)


HARDWARE = {
    # cores, boost clock in GHz; SMs, dense multiply-adds of 16-bit types a clock and SM with float32 accumulate, the
    # clock of the tensor cores' figure; bits of the memory bus and Gbit/s of each: of the architecture whitepapers
    "h100": (16896, 1.98, 132, 2048, 1.83, 5120, 5.23),
    "h200": (16896, 1.98, 132, 2048, 1.83, 6144, 6.25),
    "a100_40": (6912, 1.41, 108, 1024, 1.41, 5120, 2.43),
    "a100_80": (6912, 1.41, 108, 1024, 1.41, 5120, 3.186),
    "l40s": (18176, 2.52, 142, 512, 2.49, 384, 18),
    "l4": (7424, 2.04, 58, 512, 2.04, 192, 12.5),
    "t4": (2560, 1.59, 40, 512, 1.59, 256, 10),
    "rtx_3090": (10496, 1.695, 82, 256, 1.695, 384, 19.5),
    "rtx_4090": (16384, 2.52, 128, 256, 2.52, 384, 21),
    "rtx_5090": (21760, 2.407, 170, 256, 2.407, 512, 28),
    "jetson_orin": (2048, 1.3, 16, 1024, 1.3, 256, 6.4),
}


@pytest.mark.parametrize("name", HARDWARE)
def test_the_figures_are_those_of_the_units_and_clocks(name):
    cores, boost_ghz, multiprocessors, rate, tensor_ghz, bus_bits, bit_rate_gbit_s = HARDWARE[name]
    device = load_device(name)
    assert device.peak_flops.float32 == pytest.approx(2 * cores * boost_ghz * 1e9, rel=0.01)
    assert device.peak_flops.float16 == pytest.approx(2 * multiprocessors * rate * tensor_ghz * 1e9, rel=0.01)
    assert device.bandwidth_bytes_per_s == pytest.approx(bus_bits * bit_rate_gbit_s * 1e9 / 8, rel=0.01)
    assert device.multiprocessors == multiprocessors


@pytest.mark.parametrize("name", SHIPPED)
def test_every_figure_has_a_source(name):
    device = load_device(name)
    for field in fields(Sources):
        if field.name not in {"peak_flops", "interconnect"} and getattr(device, field.name) is not None:
            assert len(getattr(device.sources, field.name)) > 20, field.name
    for field in fields(PeakSources):
        source = getattr(device.sources.peak_flops, field.name)
        assert bool(source) == (getattr(device.peak_flops, field.name) is not None), field.name
    for field in fields(InterconnectSources):
        source, figure = (
            getattr(each, field.name) for each in (device.sources.interconnect, device.interconnect)
        )
        is_given = figure is not None and (
            field.name != "gpus_per_node" or name[0] in "ah"
        )  # 8 is its default
        assert bool(source) == is_given, field.name


@pytest.mark.parametrize("name", SHIPPED)
def test_the_figures_are_sane(name):
    device = load_device(name)
    peaks = device.peak_flops
    assert all(peak is None or peak >= peaks.float32 for peak in (peaks.tf32, peaks.bfloat16, peaks.float16))
    assert peaks.tf32 is None or peaks.tf32 <= peaks.bfloat16 / 2 * 1.02  # L40S: 183 and 362.05
    assert 0.9 < device.memory_bytes / (int(device.memory_size.split()[0]) * 1e9) < 1.08  # GB, or GiB
    if "GiB" in device.memory_size:
        assert parse_bytes(device.memory_size, "memory_size") == device.memory_bytes
    assert 0 < device.reserved_bytes < device.memory_bytes / 10
    assert device.usable_bytes == device.memory_bytes - device.reserved_bytes
    assert 1 <= device.launch_overhead_us <= 20


@pytest.mark.parametrize("name", SHIPPED)
def test_none_of_them_was_measured(name):
    """No GPU was at hand: a device file says so by having no calibration."""
    calibrated = load_device(name).calibrated
    assert [getattr(calibrated, field.name) for field in fields(calibrated)] == [None] * 4


def test_memory_is_what_torch_reports():
    assert load_device("h100").memory_bytes == 81090 * MIB
    assert load_device("rtx_4090").memory_bytes == int(23.64 * GIB)


LINKS = {  # GB/s per GPU and direction: NVLink, PCIe, network
    "h100": (450, 64, 50),
    "h200": (450, 64, 50),
    "a100_40": (300, 32, 25),
    "a100_80": (300, 32, 25),
    "l40s": (None, 32, None),
    "l4": (None, 32, None),
    "t4": (None, 16, None),
    "rtx_3090": (56.25, 32, None),
    "rtx_4090": (None, 32, None),
    "rtx_5090": (None, 64, None),
    "jetson_orin": (None, None, None),
    "cpu": (None, None, None),
}


def test_what_connects_gpus_of_each_device():
    found = {name: load_device(name).interconnect for name in SHIPPED}
    rates = ("nvlink_bytes_per_s", "pcie_bytes_per_s", "network_bytes_per_s")
    assert {name: tuple(getattr(links, rate) for rate in rates) for name, links in found.items()} == {
        name: tuple(rate and rate * 1e9 for rate in links) for name, links in LINKS.items()
    }
    assert {name for name, links in found.items() if links.nvlink_gpus} == {"rtx_3090"}


# One's own


def test_a_file_gives_a_device():
    assert load_device(write(TINY, "my_gpu.yaml")) == Device(
        name="my_gpu",
        memory_size="8 GB",
        memory_bytes=8_000_000_000,
        reserved_bytes=1_000_000_000,
        bandwidth_bytes_per_s=1e11,
        launch_overhead_us=5.0,
        vector_flops=1e12,
        peak_flops=PeakFlops(float32=1e12, float16=4e12),
        sources=Sources(
            memory_bytes="its datasheet",
            reserved_bytes="an estimate",
            bandwidth_bytes_per_s="its datasheet",
            launch_overhead_us="an estimate",
            vector_flops="its datasheet",
            peak_flops=PeakSources(float32="its datasheet", float16="its datasheet"),
        ),
    )


def test_a_path_may_be_a_path_object(folder):
    write(TINY)
    assert load_device(folder / "d.yaml") == load_device("d.yaml")


def test_a_shipped_device_is_also_a_file_that_loads():
    assert load_device(devices()["h100"]) == load_device("h100")


def test_a_calibration_is_read():
    measured = "calibrated: {float16: {recorded_on: here, compute: {linear: 0.5}, memory: {copy: 1.5}}}\n"
    device = load_device(write(TINY + measured))
    found = device.calibrated.float16
    assert isinstance(found, Calibration)
    assert (found.recorded_on, found.compute.linear, found.compute.matmul) == ("here", 0.5, None)
    assert (found.memory.copy, found.memory.elementwise, found.launch_overhead_us) == (1.5, None, None)
    assert replace(device, calibrated=load_device("h100").calibrated) == load_device(write(TINY))


def test_what_was_measured_is_written_as_the_file_has_it():
    measured = Calibration(
        recorded_on="here: now",
        compute=ProductShares(linear=0.1235),
        memory=TrafficShares(copy=0.5),
        launch_overhead_us=3.0,
    )
    text = calibrated_yaml(Calibrations(float16=measured))
    assert text == (
        "calibrated:\n  float16:\n    recorded_on: 'here: now'\n    compute:\n      linear: 0.1235\n"
        "    memory:\n      copy: 0.5\n    launch_overhead_us: 3.0\n"
    )
    assert load_device(write(TINY + text)).calibrated == Calibrations(float16=measured)
    nothing = Calibrations(tf32=Calibration(recorded_on="x"))
    assert calibrated_yaml(nothing) == "calibrated:\n  tf32:\n    recorded_on: x\n"


MEASURED = Calibrations(float16=Calibration(recorded_on="now", memory=TrafficShares(copy=2.5)))
SECTION = "calibrated:\n  float16:\n    recorded_on: now\n    memory:\n      copy: 2.5\n"
OLD = "calibrated:\n  float16:\n    recorded_on: then\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# mine\n" + TINY, "# mine\n" + TINY + SECTION),
        (TINY.rstrip("\n"), TINY + SECTION),
        (TINY + OLD, TINY + SECTION),
        (TINY + OLD.rstrip("\n"), TINY + SECTION),
        (OLD + "# of the rest\n\n" + TINY + "# end", SECTION + "# of the rest\n\n" + TINY + "# end"),
        (
            TINY + "calibrated: {float16: {recorded_on: then,\nmemory: {copy: 1}}}  # flow\nname: é\n",
            TINY + SECTION + "name: é\n",
        ),
        (TINY + "'calibrated': {}\nname: b\n", TINY + SECTION + "name: b\n"),
    ],
)
def test_a_section_goes_into_the_text_of_a_file_and_nothing_else_changes(before, after):
    source = device_source(write(before))
    assert with_calibrated(source, MEASURED) == after
    assert load_device(write(after)) == replace(load_device(write(before)), calibrated=MEASURED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_device_takes_a_section(name):
    measured = Calibrations(float32=Calibration(recorded_on="now", launch_overhead_us=0.01))
    source = device_source(name)
    text = with_calibrated(source, measured)
    assert text.startswith(source.text)
    assert load_device(write(text)) == replace(load_device(name), calibrated=measured)


FLOW = """{memory_size: 8 GB, memory_bytes: 8000000000, reserved_bytes: 1, bandwidth_bytes_per_s: 1e11,
launch_overhead_us: 5, vector_flops: 1e12, peak_flops: {float32: 1e12, float16: 1e12}, sources: {memory_bytes: x,
reserved_bytes: x, bandwidth_bytes_per_s: x, launch_overhead_us: x, vector_flops: x,
peak_flops: {float32: x, float16: x}}}
"""


@pytest.mark.parametrize("text", [TINY + "...\n", FLOW])
def test_a_text_that_takes_none_is_left_alone(text):
    source = device_source(write(text))
    with pytest.raises(UsageError) as caught:
        with_calibrated(source, MEASURED)
    assert message_of(caught) == "d.yaml: [cannot-insert-section] calibrated:"


# What is wrong with a file


BAD = [
    (with_line("bandwidth_bytes_per_s"), ["d.yaml:1:1: [missing-key] bandwidth_bytes_per_s"]),
    (
        TINY.replace("vector_flops: 1e12", "vectr_flops: 1e12"),
        [
            "d.yaml:1:1: [missing-key] vector_flops",
            "d.yaml:6:1: [unknown-key] 'vectr_flops' 'vector_flops'",
        ],
    ),
    (
        with_line("memory_bytes: 80 GB"),
        ["d.yaml:2:15: [wrong-type] memory_bytes"],
    ),
    (
        with_line("memory_bytes: 80"),
        ["d.yaml:2:15: [out-of-range] memory_bytes 1,048,576 80"],
    ),
    (
        with_line("bandwidth_bytes_per_s: 3350"),
        ["d.yaml:4:24: [out-of-range] bandwidth_bytes_per_s 1,000,000 3350"],
    ),
    (
        with_line("launch_overhead_us: -1"),
        ["d.yaml:5:21: [out-of-range] launch_overhead_us 0 -1"],
    ),
    (
        with_line("reserved_bytes: 8000000000"),
        ["d.yaml:3:17: [no-memory-left] reserved_bytes 8000000000 memory_bytes"],
    ),
    (
        with_line("peak_flops: 1e12"),
        ["d.yaml:7:13: [wrong-type] peak_flops 1000000000000"],
    ),
    (
        TINY.replace("float32: 1e12, ", "float_32: 1e12, "),
        [
            "d.yaml:7:13: [missing-key] peak_flops.float32",
            "d.yaml:7:14: [unknown-key] 'peak_flops.float_32' 'float32'",
        ],
    ),
    (
        TINY + "interconnect: {pcie_bytes_per_s: 32e9}\n",
        [
            "d.yaml:15:16: [missing-source] interconnect.pcie_bytes_per_s sources.interconnect.pcie_bytes_per_s",
        ],
    ),
    (
        TINY + "  interconnect: {nvlink_bytes_per_s: here}\n",
        ["d.yaml:15:18: [missing-figure] interconnect.nvlink_bytes_per_s"],
    ),
    (
        TINY + "  interconnect: {nvlink_gpus: x}\ninterconnect: {nvlink_gpus: 16}\n",
        [
            "d.yaml:16:16: [missing-figure] interconnect.nvlink_gpus interconnect.nvlink_bytes_per_s",
            "d.yaml:16:29: [out-of-range] interconnect.nvlink_gpus 16 gpus_per_node 8",
        ],
    ),
    (
        TINY + "interconnect: {pcie_bytes_per_s: 32}\n",
        ["d.yaml:15:34: [out-of-range] interconnect.pcie_bytes_per_s 1,000,000 32"],
    ),
    (
        TINY + "tf32: 1e12\n",
        ["d.yaml:15:1: [unknown-key] 'tf32' 'peak_flops:'"],
    ),
    (
        TINY.replace("  vector_flops: its datasheet\n", ""),
        ["d.yaml:6:1: [missing-source] vector_flops sources.vector_flops"],
    ),
    (
        TINY.replace("vector_flops: its datasheet", "vector_flops: ' '"),
        ["d.yaml:6:1: [missing-source] vector_flops sources.vector_flops"],
    ),
    (
        TINY.replace("float32: its datasheet, ", ""),
        ["d.yaml:7:14: [missing-source] peak_flops.float32 sources.peak_flops.float32"],
    ),
    (
        TINY.replace("float16: 4e12", "bfloat16: 4e12"),
        [
            "d.yaml:7:29: [missing-source] peak_flops.bfloat16 sources.peak_flops.bfloat16",
            "d.yaml:14:40: [missing-figure] sources sources.peak_flops.float16 peak_flops.float16",
        ],
    ),
    (
        TINY[: TINY.index("sources:")],
        ["d.yaml:1:1: [missing-key] sources"],
    ),
    (
        TINY + "calibrated: {bfloat16: {recorded_on: here}}\n",
        ["d.yaml:15:14: [missing-figure] calibrated.bfloat16 peak_flops.bfloat16"],
    ),
    (
        TINY + "calibrated: {float16: {compute: {linear: 1.5, matmull: 0.5}}}\n",
        [
            ("d.yaml:15:23: [missing-key] calibrated.float16.recorded_on"),
            "d.yaml:15:42: [out-of-range] calibrated.float16.compute.linear 1 1.5",
            "d.yaml:15:47: [unknown-key] 'calibrated.float16.compute.matmull' 'matmul'",
        ],
    ),
    (
        TINY + "name: a\nname: b\n",
        ["d.yaml:16:1: [duplicate-key] 'name' d.yaml 15 1"],
    ),
    (
        TINY + "? [a]\n: 1\n",
        ["d.yaml:15:3: [not-a-key] 'bandwidth_bytes_per_s'"],
    ),
    (TINY + "<<: {a: 1}\n", ["d.yaml:15:1: [merge-key] 1.2"]),
    (TINY + "--- {}\n", ["d.yaml:15:1: [several-documents]"]),
    ("", ["d.yaml: [empty-file] bandwidth_bytes_per_s"]),
    (
        "- 1\n",
        ["d.yaml:1:1: [not-a-mapping] bandwidth_bytes_per_s"],
    ),
    ("#" * (MIB + 1), ["d.yaml: [file-too-large] 1,048,576"]),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[expected[-1][:70] for _, expected in BAD])
def test_what_is_wrong_is_reported_with_its_place(text, expected):
    assert problems_in(text) == expected


@pytest.mark.parametrize(("word", "nearest"), [("h10", "h100"), ("rtx_4091", "rtx_4090")])
def test_an_unknown_device_comes_with_the_nearest(word, nearest):
    assert problems_of(word) == [f"samattn: [file-not-found] '{word}' '{nearest}'"]


@pytest.mark.parametrize(("word", "name"), [("H100", "h100"), ("rtx4090", "rtx_4090")])
def test_a_name_that_surely_means_a_device_is_it(word, name):
    assert load_device(word) == load_device(name)


def test_a_name_near_none_comes_with_them_all():
    assert problems_of("mi300x") == [f"samattn: [file-not-found] 'mi300x' {' '.join(SHIPPED)}"]


def test_the_place_of_a_reference_may_be_an_option():
    with pytest.raises(ConfigError) as caught:
        load_device("h10", "--device h10")
    assert known_problems(caught) == ["--device h10: [file-not-found] 'h10' 'h100'"]


def test_a_directory_and_an_empty_name_are_no_device():
    Path("d").mkdir()
    assert problems_of("d") == ["samattn: [is-a-directory] 'd'"]
    assert problems_of("") == ["samattn: [empty-name] device"]
