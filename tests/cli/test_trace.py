"""`samattn trace` of a module that a user wrote, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest

from samattn_cli import from_json
from samattn_cli.encoder.torch_versions import version_of
from samattn_cli.reports.trace import IN_THREADS
from tests.support.running import SAMATTN, environment, samattn

ENCODER = """
from threading import Thread
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(B, N, C))

class Block(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.window, self.norm, self.attn = window, nn.LayerNorm(dim), Attention(dim, heads)

    def forward(self, x):
        B, N, C = x.shape
        y = self.norm(x)
        if self.window:
            y = y.view(-1, self.window, C)
        return x + self.attn(y).view(B, N, C)

class Encoder(nn.Module):
    def __init__(self, dim=32, depth=4, heads=2):
        super().__init__()
        print("a target may print")
        rates = [rate.item() for rate in torch.linspace(0, 0.1, depth)]
        self.patch_embed = nn.Conv2d(3, dim, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 64, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, 0 if i % 2 else 16) for i, _ in enumerate(rates))

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x

def build(**arguments):
    return Encoder(**arguments)

class Fused(Encoder):
    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2).contiguous()[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x)

class ReadsNumbers(Encoder):
    def forward(self, x):
        return super().forward(x) * x.sum().item()

class Shared(Encoder):
    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        for _ in range(3):
            x = self.blocks[0](x)
        return x

class InThreads(Encoder):
    def forward(self, x):
        thread = Thread(target=super().forward, args=(x,))
        thread.start()
        thread.join()
        return super().forward(x)

class Asks(Encoder):
    def forward(self, x):
        input("go on?")
        return super().forward(x)
"""
IMAGE = ("--input", "1x3x128x128")

ALLOCATED = {(2, 6): 35_045_888, (2, 13): 34_038_272, (2, 14): 34_038_272, (2, 15): 34_013_696}
"""What the allocator handed out on the dry device h100, by the release of torch; 2.13 is taken to be as 2.14 is."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "mine.py").write_text(ENCODER)
    return folder


def traced(folder, *arguments):
    ran = samattn("trace", *arguments, "-f", "json", cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_a_module_of_ones_own(folder):
    report = traced(folder, "mine:build", *IMAGE, "--arg", "depth=3")
    assert (report["kind"], report["source"], report["run"]["route"]) == ("analysis", "traced", "meta")
    dim, tokens, layer = 32, 64, 64 + 33 * 96 + 33 * 32
    assert report["totals"]["params"] == (3 * 256 + 1 + tokens) * dim + 3 * layer
    of_attention = {
        16: 2 * 4 * 2 * 16 * 16 * 16,
        64: 2 * 2 * 64 * 64 * 16,
    }  # windows, heads, queries, keys, head dim
    linear = tokens * dim * 4 * dim
    macs = [linear + of_attention[16], linear + of_attention[64], linear + of_attention[16]]
    assert [each["macs"] for each in report["layers"]] == macs
    assert report["totals"]["flops"] == 2 * (tokens * dim * 3 * 256 + sum(macs))
    assert [
        (each["name"], each["attention"], each["windows"], each["window_tokens"]) for each in report["layers"]
    ] == [
        ("blocks.0", "window", 4, 16),
        ("blocks.1", "global", 1, 64),
        ("blocks.2", "window", 4, 16),
    ]
    assert [each["name"] for each in report["parts"]] == ["patch_embed", "pos_embed"]
    assert report["training"] is None


def test_its_peak_is_worked_out_by_hand(folder):
    """At the softmax of the global block: its input, what norm and qkv gave, the scores and the softmax are live."""
    report = traced(folder, "mine:build", *IMAGE, "--arg", "depth=2")
    weights = 3 * 256 * 32 * 4 + 512 + 64 * 32 * 4 + 2 * (512 * 2 + 32 * 96 * 4 + 512 + 32 * 32 * 4 + 512)
    image, x, norm, qkv, scores = 3 * 128 * 128 * 4, 64 * 32 * 4, 64 * 32 * 4, 64 * 96 * 4, 2 * 64 * 64 * 4
    assert report["totals"]["peak_bytes"] == weights + image + x + norm + qkv + 2 * scores
    assert report["totals"]["peak_at"] == "blocks.1.attn.softmax"


@pytest.mark.exhaustive
def test_in_processes_of_its_own_as_a_user_starts_it(folder):
    """The other tests fork: here Python starts twice, and finds the module in the working folder."""
    command = [*SAMATTN, "trace", "mine:Fused", *IMAGE, "--arg", "depth=1", "--dtype", "float16"]
    ran = subprocess.run(
        [*command, "--device", "h100", "-f", "json"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    report = json.loads(ran.stdout)
    (attention,) = [each for part in report["parts"] for each in part["attentions"]]
    assert (attention["queries"], attention["keys"], attention["fused"]) == (64, 64, True)
    assert "cuDNN" in report["notes"][0]  # which torch prefers on an H100


def test_the_attention_kernel_is_that_of_the_device(folder):
    """Without one, an A100 runs flash attention in float16; a T4 has memory-efficient attention, with other results."""
    found = {}
    for device in ((), ("--device", "t4")):
        report = traced(folder, "mine:Fused", *IMAGE, "--dtype", "float16", *device)
        (op,) = [op for part in report["parts"] for op in part["ops"] if op["kind"] == "sdpa"]
        found[device] = op["requested_bytes"]
        assert report["notes"] == []
    out, sums, seeds = 64 * 32 * 2, 64 * 4, 8 + 8
    assert found == {(): out + sums + seeds + 8, ("--device", "t4"): out + seeds}


def test_a_training_step_and_a_device(folder):
    report = traced(
        folder, "mine:Encoder", *IMAGE, "--mode", "training", "--device", "h100", "--dtype", "bfloat16"
    )
    training = report["training"]
    assert training["trained_params"] == report["totals"]["params"]
    assert training["optimizer_bytes"] == 2 * training["gradients_bytes"]
    assert (
        training["flops"] == 3 * report["totals"]["flops"] - 2 * 64 * 32 * 3 * 256
    )  # the image has no gradient
    assert report["totals"]["weights_bytes"] == 2 * report["totals"]["params"]
    assert report["device"]["fits"]
    assert report["totals"]["latency_ms"] == pytest.approx(training["step_ms"])


def test_a_module_that_reads_numbers_runs_on_the_cpu(folder):
    report = traced(folder, "mine:ReadsNumbers", *IMAGE)
    assert report["run"]["route"] == "cpu"
    assert "mine.py:55" in report["notes"][0]


def test_a_block_that_runs_several_times_says_how_often(folder):
    report = traced(folder, "mine:Shared", *IMAGE)
    assert report["notes"] == ["blocks.0 runs 3 times in a forward; its figures are those of all of them"]
    once = traced(folder, "mine:Encoder", *IMAGE, "--arg", "depth=2")
    assert once["notes"] == []
    assert report["layers"][0]["flops"] == 3 * once["layers"][0]["flops"]


def test_operations_in_threads_of_the_module_are_reported_as_missing(folder):
    report = traced(folder, "mine:InThreads", *IMAGE)
    assert report["notes"] == [IN_THREADS]
    assert report["totals"]["flops"] == traced(folder, "mine:Encoder", *IMAGE)["totals"]["flops"]


def test_its_json_is_read_back(folder):
    ran = samattn(
        "trace", "mine:build", *IMAGE, "-o", "report.json", "-o", "report.csv", "-o", "report.md", cwd=folder
    )
    assert ran.returncode == 0, ran.stderr
    report = from_json((folder / "report.json").read_text())
    assert report.layers[1].attention == "global"
    assert (folder / "report.csv").read_text().count("\n") == 1 + 2 + 4 + 1
    assert "blocks.0" in (folder / "report.md").read_text()


def test_a_target_that_ends_its_process_ends_nothing_else(folder):
    (folder / "ends.py").write_text("import os\nos._exit(7)\n")
    ran = samattn("trace", "ends:build", *IMAGE, cwd=folder)
    assert ran.returncode == 2
    assert "exited with 7" in ran.stderr
    assert "[target-ends-process]" in ran.stderr


def test_a_target_that_asks_for_input_does_not_wait(folder):
    ran = samattn("trace", "mine:Asks", *IMAGE, cwd=folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "EOFError" in ran.stderr
    assert ran.stderr.endswith("[forward-fails]\n")


def test_it_fits_by_what_the_allocator_reserves(folder):
    """cuBLAS has its workspace, and cuBLASLt in some releases; all else is small, and shares a segment of 2 MiB."""
    report = traced(folder, "mine:build", *IMAGE, "--device", "h100")
    workspace = 32 << 20
    device = report["device"]
    assert device["allocated_bytes"] == ALLOCATED[version_of(version("torch"))]
    assert device["reserved_bytes"] == (2 << 20) + workspace
    assert report["totals"]["allocated_bytes"] == device["allocated_bytes"]
    on_cpu = samattn("trace", "mine:build", *IMAGE, "--device", "cpu", cwd=folder)
    assert "bytes of live tensors" in on_cpu.stdout


def test_against_a_config_exits_with_1(folder):
    config = "image_size: 128\npatch_size: 16\nembed_dim: 32\ndepth: 4\nnum_heads: 2\nwindow_size: 4\nglobal_attn_indexes: [1]\n"
    (folder / "config.yaml").write_text(config)
    ran = samattn("trace", "mine:build", "--against", "config.yaml", "-f", "json", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    found = {each["what"]: each for each in json.loads(ran.stdout)["against"]["differences"]}
    assert found["windows"]["text"] == (
        "blocks.3 attends in 4 windows of 16 tokens in the config and globally, over 64 tokens here"
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--input", "1x3x"), "not-a-shape"),
        (("--input", "1x0x3"), "not-a-shape"),
        (("--input", "1x3:int63"), "unknown-dtype"),
        (("--arg", "depth"), "not-an-argument"),
        (("--mode", "trane"), "unknown-choice"),
        (("--dtype", "int8"), "unknown-choice"),
        (("--set", "depth=3"), "needs-option"),
    ],
)
def test_options_that_are_wrong(folder, options, code):
    ran = samattn("trace", "mine:build", *options, cwd=folder)
    assert (ran.returncode, f"[{code}]" in ran.stderr) == (2, True), ran.stderr
