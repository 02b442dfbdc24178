"""The parts of `samattn measure` that need a GPU, or a crash, on stand-ins."""

import json
import signal
import subprocess
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from samattn_cli import SamattnError, load_config
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.model import RunConfig
from samattn_cli.errors import ConfigError
from samattn_cli.files.load import parse_override
from samattn_cli.reports.recording import (
    Fingerprint,
    MeasuredCase,
    Outcome,
    Recording,
    read_recording,
)
from samattn_cli.reports.text import to_json
from samattn_cli.stack import fingerprint, latency, measure, memory
from samattn_cli.stack.sections import on_entering
from samattn_cli.stack.step import Step
from samattn_cli.studies import machine, recorded
from samattn_cli.studies.child import outcome_from
from samattn_cli.studies.measure import cases_of, measure_case

TINY = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}


def tiny(*overrides):
    return load_config(TINY, overrides)


# -- how a process ended ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "stderr", "status", "message"),
    [
        (-signal.SIGKILL, "", "out of memory", "killed by signal 9"),
        (-signal.SIGSEGV, "", "failed", "killed by signal 11"),
        (1, "Traceback\nValueError: x\n", "failed", "the process exited with 1: ValueError: x"),
        (3, "", "failed", "the process exited with 3: no message"),
    ],
)
def test_a_process_that_ends_badly_is_an_outcome(code, stderr, status, message):
    outcome = outcome_from(subprocess.CompletedProcess([], code, "", stderr))
    assert outcome.status == status
    assert message in outcome.message
    assert outcome.measured is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB.\nmore"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 bytes"), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("no kernel image is available for execution on the device"), "failed"),
    ],
)
def test_running_out_of_memory_differs_from_other_errors(monkeypatch, error, status):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(measure, "measure", broken)
    outcome = measure.outcome_of(tiny(), "cuda", measure.How())
    assert (outcome.status, outcome.measured) == (status, None)
    assert "\n" not in outcome.message


def test_an_error_whose_first_line_ends_in_a_colon_is_given_with_the_next():
    told = measure.reason_of(RuntimeError("backend='inductor' raised:\nCalledProcessError: gcc\n\nSet X"))
    assert told == "RuntimeError: backend='inductor' raised: CalledProcessError: gcc"
    assert measure.reason_of(ValueError("one\ntwo")) == "ValueError: one"
    assert measure.reason_of(MemoryError()) == "MemoryError: "


def test_a_case_that_is_too_large_for_the_cpu_is_not_run(monkeypatch):
    monkeypatch.setattr("samattn_cli.studies.measure.available_bytes", lambda: 1 << 10)
    case = measure_case(tiny(), "cpu")
    assert (case.status, case.message) == ("not run", "only 1.00 KiB of memory is available")
    assert not case.is_finished


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8 kB\n", "utf-8")
    (tmp_path / "memory.current").write_text("1024\n", "utf-8")
    (tmp_path / "memory.max").write_text("max\n", "utf-8")
    assert machine.available_bytes() == 8 << 10
    (tmp_path / "memory.max").write_text("4096\n", "utf-8")
    assert machine.available_bytes() == 3 << 10


# -- a GPU that is not there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem", ["The NVIDIA driver on your system is too old (found version 11040).", "x\ny"]
)
def test_a_cuda_that_does_not_start_is_one_message(monkeypatch, problem):
    def init():
        raise RuntimeError(problem)

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(SamattnError) as caught:
        fingerprint.fingerprint("cuda")
    assert caught.value.codes == ("device-does-not-run",)
    assert problem.partition("\n")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


class Allocator:
    """Counts as torch.cuda.memory does; the workspace is made once."""

    def __init__(self):
        self.live = self.peak = 0
        self.workspace = 0

    def add(self, nbytes):
        self.live += nbytes
        self.peak = max(self.peak, self.live)

    def pass_of(self, enter):
        if not self.workspace:
            self.workspace = 8_000
            self.add(self.workspace)
        for section, nbytes in ((("blocks.0", "forward"), 300), (("neck", "forward"), 200)):
            enter(section)
            self.add(nbytes)
            self.live -= nbytes

    def clear(self):
        self.live -= self.workspace

    def memory_allocated(self):
        return self.live

    def max_memory_allocated(self):
        return self.peak

    def max_memory_reserved(self):
        return self.peak + 1_000

    def memory_stats(self):
        return {"requested_bytes.all.peak": self.peak - 100}

    def reset_peak_memory_stats(self):
        self.peak = self.live

    def empty_cache(self):
        pass


class Pass:
    """As a step: called to run a pass."""

    def __init__(self, run, which):
        self.run = run
        self.settings = RunConfig(mode="training", step=which)

    def __call__(self):
        self.run()


@pytest.mark.parametrize("which", ["first", "later"])
def test_the_counters_of_cuda_are_read_whole_by_section_and_without_the_workspace(monkeypatch, which):
    """The first pass makes the workspace."""
    allocator, enter = Allocator(), [lambda _: None]

    @contextmanager
    def entering(_, function):
        enter[0] = function
        yield
        enter[0] = lambda _: None

    def make():
        allocator.add(5_000)
        return Pass(lambda: allocator.pass_of(enter[0]), which)

    monkeypatch.setattr(memory, "cuda", allocator)
    monkeypatch.setattr(memory, "on_entering", entering)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", allocator.clear, raising=False)
    _, usage = memory.usage_on_cuda(make)
    assert usage.baseline_bytes == 5_000
    assert usage.workspace_bytes == 8_000
    assert usage.peak_allocated_bytes == 13_300
    assert usage.peak_reserved_bytes == 14_300
    assert usage.peak_requested_bytes == 13_200
    assert usage.section_bytes == {("blocks.0", "forward"): 13_300, ("neck", "forward"): 13_200}


# -- memory and time -------------------------------------------------------------------------------------------------


def event(at, name, nbytes=0):
    return SimpleNamespace(start_ns=lambda: at, name=lambda: name, nbytes=lambda: nbytes)


def test_the_allocators_events_are_followed_in_the_order_of_time():
    events = [
        event(9, "[memory]", 999), event(1, "[memory]", 100), event(2, "samattn.begin"), event(4, "[memory]", 50),
        event(3, "samattn.blocks.0/forward"), event(5, "[memory]", -50), event(6, "samattn.neck/forward"),
        event(7, "[memory]", 20), event(8, "samattn.end"), event(5, "aten::linear"),
    ]  # fmt: skip
    usage = memory.usage_of_events(events)
    assert (usage.baseline_bytes, usage.peak_allocated_bytes) == (100, 150)
    assert usage.section_bytes == {("blocks.0", "forward"): 150, ("neck", "forward"): 120}


@pytest.mark.parametrize("neck", ["none", "sam"])
@pytest.mark.parametrize("pos_embed", ["none", "learned"])
@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_sections_are_entered_forward_then_backward_and_hooks_go(neck, pos_embed, checkpointing):
    config = tiny(
        f"neck={neck}", f"pos_embed={pos_embed}", "run.mode=training", f"run.checkpointing={checkpointing}"
    )
    step, entered = Step(config, "cpu"), []
    with on_entering(step, entered.append):
        step()
        step()
    step()
    parts = ["patch_embed", *(["pos_embed"] * (pos_embed == "learned")), "blocks.0", "blocks.1"]
    parts += ["neck"] * (neck == "sam")
    once = [(part, "forward") for part in parts] + [(part, "backward") for part in reversed(parts)]
    assert entered == [*once, ("optimizer", "step")] * 2


@pytest.mark.parametrize("optimizer", ["adamw", "sgd_momentum", "sgd"])
@pytest.mark.parametrize("autocast", ["none", "bfloat16"])
def test_a_step_trains_every_weight(optimizer, autocast):
    step = Step(tiny("run.mode=training", f"run.optimizer={optimizer}", f"run.autocast={autocast}"), "cpu")
    before = [weight.detach().clone() for weight in step.model.parameters()]
    step()
    step()
    moved = [not torch.equal(old, new) for old, new in zip(before, step.model.parameters(), strict=True)]
    assert all(moved)
    assert all(weight.isfinite().all() for weight in step.model.parameters())


def test_the_median_and_its_spread():
    assert latency.latency_of([float(time) for time in range(11)]) == latency.Latency(5, 1, 9, 11)
    assert latency.latency_of([7.0]) == latency.Latency(7, 7, 7, 1)


def test_a_slow_case_is_timed_less_often(monkeypatch):
    now = iter(range(0, 10_000, 8))
    monkeypatch.setattr(latency, "perf_counter", lambda: next(now))
    assert len(latency.repeated(lambda: 1, None)) == 3
    assert len(latency.repeated(lambda: 1, 5)) == 5


def test_attention_kernels_are_noted_by_name():
    def attend():
        q = torch.ones(1, 2, 4, 8)
        torch.nn.functional.scaled_dot_product_attention(q, q, q)

    assert measure.attention_kernels(attend) == ("_scaled_dot_product_flash_attention_for_cpu",)
    assert measure.attention_kernels(Step(tiny(), "cpu")) == ()


# -- cases and recordings --------------------------------------------------------------------------------------------


def test_two_cases_that_come_out_equal_are_one(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: sam_vit_b\n", "utf-8")
    assert [config.name for config in cases_of(["sam_vit_b", str(tmp_path / "a.yaml")], (), ())] == [
        "sam_vit_b"
    ]


def test_a_size_that_a_config_does_not_take_is_no_case_if_it_takes_another():
    sizes = [parse_override(f"image_size={size}") for size in (48, 60, 64, 72)]
    modes = [parse_override(f"run.mode={mode}") for mode in ("inference", "training")]
    windows = parse_override("num_windows_side=4")
    left_out = []
    cases = cases_of(["sam_vit_b"], [windows], [sizes, modes], left_out)
    assert [(each.image_size, each.run.mode) for each in cases] == [
        (each, mode) for each in ((64, 64), (72, 72)) for mode in ("inference", "training")
    ]  # 4x4 patches; 72 // 16 is 4, too
    assert [error.codes for error in left_out] == [("not-divisible",)] * 4  # 3x3 patches, in both modes
    with pytest.raises(ConfigError, match="not-divisible"):
        cases_of(["sam_vit_b"], [windows], [sizes, modes])
    for wrong in (["image_size=60"], ["image_size=64", "image_size=60x"]):
        with pytest.raises(ConfigError):
            cases_of(["sam_vit_b"], [windows], [list(map(parse_override, wrong))], [])


def test_shipped_recordings_are_found_by_config(monkeypatch, tmp_path):
    text = dict.fromkeys(Fingerprint.__dataclass_fields__, "")
    print_ = Fingerprint(
        **{
            **text,
            "device": "H100",
            "kind": "cuda",
            "total_bytes": 1,
            "allocation_bytes": 512,
            "settings": (),
        }
    )
    full, failed = (
        MeasuredCase(
            config=config,
            config_hash=config_hash(config),
            predicted_bytes=None,
            measured_at="2026-11-22T00:00:00+00:00",
            status=status,
        )
        for config, status in ((tiny(), "out of memory"), (tiny("depth=3"), "failed"))
    )
    recording = Recording(fingerprint=print_, cases=(full, failed))
    (tmp_path / "h100.json").write_text(to_json(recording), "utf-8")
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    recorded._cases.cache_clear()
    try:
        (found,) = recorded.measured(tiny("name=other"), lambda: 1)
        assert (found.device, found.status, found.peak_bytes) == ("H100", "out of memory", None)
        assert recorded.measured(tiny("depth=3"), lambda: 1) == ()
    finally:
        recorded._cases.cache_clear()


def test_what_ships_is_sound_and_found():
    (path,) = recorded.FOLDER.glob("cpu-*.json")
    for case in read_recording(path).cases:
        peak = case.measured.peak_allocated_bytes
        found, *_ = recorded.measured(case.config, partial(int, peak))
        assert (found.peak_bytes, found.error) == (peak, 0.0)


def test_a_case_replaces_an_earlier_one_of_its_config():
    config = tiny()
    case = MeasuredCase(
        config=config, config_hash=config_hash(config), predicted_bytes=1, measured_at="", status="failed"
    )
    assert isinstance(case, Outcome)
    recording = Recording(fingerprint=None, cases=(case,)).with_case(case)
    assert recording.cases == (case,)
    assert recording.finished(config) is None


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("preset", "size"),
    [("vit_b", "image_size=64"), ("swin_t", "image_size=112"), ("sam_vit_b", "image_size=128")],
)
def test_a_training_step_on_a_cpu_is_predicted_to_a_thousandth(preset, size):
    """AdamW's step is where these hold the most, and on a CPU it takes weights one by one."""
    depth = {"vit_b": ("depth=2",), "sam_vit_b": ("depth=2", "global_attn_indexes=[1]")}.get(preset, ())
    case = measure_case(load_config(preset, (size, *depth, "run.mode=training")), "cpu", repeats=1)
    assert case.measured.peak_allocated_bytes == pytest.approx(case.predicted_bytes, rel=1e-3)


def test_each_case_that_ships_is_found_by_its_shape():
    """A recording with a line for each case is not read whole."""
    for path in recorded.FOLDER.glob("*.json"):
        text = path.read_bytes()
        for case in json.loads(text)["cases"]:
            config = case["config"]
            shape = tuple(config["image_size"]), *(stage["embed_dim"] for stage in config["stages"])
            assert case in recorded._read(text, shape)["cases"]
            assert case["status"] == "failed" or case["config_hash"] in recorded._cases(shape)
