"""`--ray` on a real Ray cluster of two machines, which are processes of this one, one of them killed in the middle.

Ray takes minutes to install and half a minute to start, so CI runs this each week; see tests/README.md.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.running import ROOT, SAMATTN, environment

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[dev,ray]'"),
]

TINY = """\
image_size: 64
patch_size: 16
embed_dim: 32
depth: 2
num_heads: 2
window_size: 2
global_attn_indexes: [1]
"""
MARK = "SAMATTN_TEST_CLUSTER"
OBJECT_STORE = 80 << 20
MEMORY = 1 << 30
"""What each machine gives to Ray: less than a case of 1536 pixels takes."""
HIDE = """\
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name == {name!r} else found(name, path, target)
"""


class Machines:
    """A cluster whose head is machine "a", with one core."""

    def __init__(self):
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - where Ray is installed

        os.environ[MARK] = str(os.getpid())
        self.cluster = Cluster(initialize_head=True, head_node_args=self.settings("a"))

    @staticmethod
    def settings(name, **more):
        return {
            "num_cpus": 1,
            "node_name": name,
            "object_store_memory": OBJECT_STORE,
            "memory": MEMORY,
        } | more

    @contextmanager
    def joined(self, name, **more):
        node = self.cluster.add_node(**self.settings(name, **more))
        try:
            yield node
        finally:
            if node in self.cluster.list_all_nodes():
                self.cluster.remove_node(node)

    def kill(self, node):
        self.cluster.remove_node(node, allow_graceful=False)

    def samattn(self, *words, folder):
        return subprocess.run(self.command(words), **self.how(folder), check=False, capture_output=True)

    def started(self, *words, folder):
        return subprocess.Popen(
            self.command(words), **self.how(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def command(self, words):
        return [*SAMATTN, *words, "--ray", self.cluster.address]

    @staticmethod
    def how(folder):
        return {"cwd": folder, "env": environment(PYTHONPATH=str(ROOT)), "text": True}


@pytest.fixture(scope="module")
def machines():
    found = Machines()
    yield found
    found.cluster.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    return tmp_path


def measure(sizes, device="cpu"):
    return (
        *("measure", "tiny.yaml", "--device", device, "--resolutions", sizes),
        *("--repeats", "2", "-o", "cases.json"),
    )


def cases_in(folder):
    return json.loads((folder / "cases.json").read_text("utf-8"))["cases"]


def ended(running):
    """The exit code and standard output."""
    with running:
        output = running.stdout.read()
    return running.returncode, output


def measuring():
    """The processes that measure a case of this test."""
    return [process.name for process in Path("/proc").glob("[0-9]*") if is_measuring(process)]


def is_measuring(process):
    try:
        command, variables = ((process / name).read_bytes() for name in ("cmdline", "environ"))
    except OSError:  # it ended
        return False
    return b"stack.child" in command and f"{MARK}={os.getpid()}".encode() in variables


def test_a_machine_is_killed_and_nothing_is_lost_or_measured_twice(machines, folder):
    sizes = ["64", "128", "192", "256", "320", "384"]
    with machines.joined("b") as b:
        running = machines.started(*measure(",".join(sizes)), folder=folder)
        lines = []
        for line in running.stderr:
            lines.append(line)
            if " on b; about " in line and b in machines.cluster.list_all_nodes():
                before = cases_in(folder)
                machines.kill(b)  # while it measures its next case
        assert ended(running) == (0, ""), lines  # Ray tells about the machine there, in dozens of lines
    assert all(line.startswith(("6 cases", "[", "wrote")) for line in lines)
    cases = cases_in(folder)
    assert cases[: len(before)] == before
    assert [case["status"] for case in cases] == ["measured"] * 6
    assert set(Counter(case["config_hash"] for case in cases).values()) == {1}
    assert {str(case["config"]["image_size"][0]) for case in cases} == set(sizes)
    assert len([line for line in lines if line.startswith("[")]) == 6
    hosts = Counter(case["fingerprint"]["host"] for case in cases)
    assert hosts.keys() == {"a", "b"}
    assert {case["fingerprint"]["host"] for case in cases[len(before) :]} == {"a"}
    assert json.loads((folder / "cases.json").read_text("utf-8"))["fingerprint"]["host"] == "a, b"

    again = machines.samattn(
        *measure(",".join([*sizes, "448"])), folder=folder
    )  # on the machine that is left
    assert again.returncode == 0, again.stderr
    assert "6 already finished, in cases.json" in again.stderr
    assert cases_in(folder)[:6] == cases
    assert len(cases_in(folder)) == 7


def test_an_interrupt_cancels_what_runs_and_keeps_what_is_measured(machines, folder):
    running = machines.started(*measure("64,128,192,256"), folder=folder)
    lines = []
    for line in running.stderr:
        lines.append(line)
        if line.startswith("[1/4]"):
            running.send_signal(signal.SIGINT)
    assert ended(running) == (130, ""), lines
    assert lines[-1] == (
        "samattn: interrupted; 1 of 4 cases finished and kept in cases.json; run the same command to continue\n"
    )
    kept = cases_in(folder)
    assert len(kept) == 1
    ends_by = time.monotonic() + 30
    while measuring() and time.monotonic() < ends_by:
        time.sleep(0.5)
    assert measuring() == []

    again = machines.samattn(*measure("64,128,192,256"), folder=folder)
    assert again.returncode == 0, again.stderr
    assert "; 1 already finished, in cases.json" in again.stderr
    assert cases_in(folder)[:1] == kept
    assert len(cases_in(folder)) == 4


def test_a_case_whose_process_is_killed_is_out_of_memory_and_the_others_go_on(machines, folder):
    """As Linux does when the memory of a machine runs out."""
    running = machines.started(*measure("64,128"), folder=folder)
    killed = False
    for line in running.stderr:
        while "2 cases on" in line and not killed and running.poll() is None:
            for process in measuring():
                os.kill(int(process), signal.SIGKILL)
                killed = True
    assert ended(running) == (0, "")
    assert sorted(case["status"] for case in cases_in(folder)) == ["measured", "out of memory"]


def test_a_lost_head_is_told_and_what_is_measured_is_kept(folder):
    machines = Machines()
    running = machines.started(*measure("64,128,192"), folder=folder)
    lines = []
    for line in running.stderr:
        lines.append(line)
        if line.startswith("[1/3]"):
            machines.kill(machines.cluster.head_node)
    assert ended(running) == (2, "")
    assert lines[-1].endswith("[head-lost]\n")
    assert len(lines) == 3
    assert len(cases_in(folder)) == 1
    machines.cluster.shutdown()


def test_a_sweep_has_its_points_in_order_also_those_that_fit_on_no_machine(machines, folder):
    with machines.joined("b"):
        ended = machines.samattn(
            *("sweep", "tiny.yaml", "--resolutions", "64,128,1536", "--measure", "cpu", "--repeats", "2"),
            *("--format", "json"),
            folder=folder,
        )
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(ended.stdout)["measured"]
    assert measured["fingerprint"]["host"] == "a, b"
    assert [point["point"] for point in measured["points"]] == [0, 1, 2]
    assert [point["status"] for point in measured["points"]] == ["measured", "measured", "not run"]
    assert measured["points"][0]["peak_bytes"] < measured["points"][1]["peak_bytes"]
    assert measured["points"][2]["predicted_bytes"] > MEMORY
    assert measured["points"][2]["message"] == "no machine of the cluster has more than 1.00 GiB of memory"
    assert ended.stderr.count(" on a") + ended.stderr.count(" on b") == 2


def test_a_machine_that_joins_takes_cases(machines, folder):
    with ExitStack() as stack:
        running = machines.started(*measure("64,128,192,256,320"), folder=folder)
        for line in running.stderr:
            if line.startswith("[1/5]"):
                stack.enter_context(machines.joined("late"))
        assert ended(running) == (0, "")
    assert {case["fingerprint"]["host"] for case in cases_in(folder)} == {"a", "late"}
    assert [case["status"] for case in cases_in(folder)] == ["measured"] * 5


def hiding(name, folder):
    (folder / "sitecustomize.py").write_text(HIDE.format(name=name), "utf-8")
    return {"PYTHONPATH": str(folder)}


def older(folder):
    package = folder / "samattn_cli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_text('__version__ = "0.0.1"\n', "utf-8")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (
            lambda folder: hiding("samattn_cli", folder),
            f"samattn is not installed for {sys.executable} [not-installed]",
        ),
        (
            lambda folder: hiding("torch", folder),
            f"torch is not installed for {sys.executable} [not-installed]",
        ),
        (older, "has samattn 0.0.1, and this is 0.1.0 [other-version]"),
        (
            lambda _: {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"},
            "its machine ran out of memory, and Ray ended the case [worker-failed]",
        ),
    ],
    ids=["no samattn", "no torch", "other version", "no memory"],
)
def test_a_machine_that_cannot_measure_is_named(machines, folder, tmp_path_factory, broken, problem):
    shim = tmp_path_factory.mktemp("shim")
    with machines.joined("bad", env_vars=broken(shim)):
        ended = machines.samattn(*measure("64"), folder=folder)
    assert ended.returncode == 2
    assert ended.stderr == f"--ray: machine bad: {problem}\n"
    assert not (folder / "cases.json").exists()


def test_gpus_are_chosen_by_the_type_that_the_cluster_has(machines, folder):
    """Ray is told of GPUs, and believes it; torch without CUDA does not."""
    none = machines.samattn(*measure("64", "cuda"), folder=folder)
    assert none.stderr == (
        "--device cuda: the cluster has no GPU (machines: a); --device cpu measures on CPUs [no-such-device]\n"
    )
    with machines.joined("gpu", num_gpus=1, resources={"accelerator_type:A100": 1}):
        unknown = machines.samattn(*measure("64", "cuda"), "--gpu-type", "A10", folder=folder)
        found = machines.samattn(*measure("64", "cuda"), "--gpu-type", "a100", folder=folder)
        with machines.joined("other", num_gpus=1, resources={"accelerator_type:L4": 1}):
            several = machines.samattn(*measure("64", "cuda"), folder=folder)
    assert unknown.stderr == (
        "--gpu-type A10: no GPU of this type is in the cluster; did you mean 'A100'?; it has: A100 [unknown-gpu-type]\n"
    )
    assert found.stderr.startswith("--ray: machine gpu: --device cuda: torch ")  # Ray placed it there
    assert "has GPUs of several types (A100, L4)" in several.stderr
    assert several.stderr.endswith("[several-gpu-types]\n")
    assert {none.returncode, unknown.returncode, found.returncode, several.returncode} == {2}


def test_an_address_that_does_not_answer_is_told_in_a_line(folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        ended = subprocess.run(
            [*SAMATTN, *measure("64"), "--ray", address],
            **Machines.how(folder),
            check=False,
            capture_output=True,
        )
        took = time.monotonic() - began
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith(f"--ray {address}: no Ray cluster answers")
    assert took < 10 + 5  # and the start of Python on a busy machine
