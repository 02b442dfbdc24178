"""Modules that are traced in place of configs: `trace:` in the `configs` of a thresholds file."""

from __future__ import annotations

import json
import os

import pytest

from samattn_cli.errors import ConfigError, code_of
from samattn_cli.files.sources import Source
from samattn_cli.gate import targets, traced
from samattn_cli.gate.load_thresholds import load_thresholds, thresholds_of
from samattn_cli.gate.run import check
from samattn_cli.studies.traced import ask
from tests.support.repositories import git, new, write
from tests.support.running import ROOT, samattn
from tests.support.thresholds_files import SMALL, TODAY

MODULE = """
from threading import Thread
import torch
from torch import nn
class Mlp(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(4, width)
    def forward(self, x):
        return self.fc(x)
class InThreads(Mlp):
    def forward(self, x):
        thread = Thread(target=super().forward, args=(x,))
        thread.start()
        thread.join()
        return super().forward(x)
class Fails(Mlp):
    def forward(self, x):
        raise RuntimeError("not today")
"""
TARGET = "trace: {target: 'net:Mlp', input: 2x4}"
RULES = f"""version: 1
configs: [small.yaml, {TARGET}]
rules:
  - {{id: size, metric: params, limit: 40}}
  - {{id: growth, match: 'trace:*', metric: flops, vs: baseline, increase: +0 %}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"net.py": MODULE, "samattn.yaml": RULES, "small.yaml": SMALL})
    return tmp_path


def checked(folder, *arguments, code):
    ran = samattn("check", *arguments, "-f", "json", cwd=folder)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return {(each["rule"], each["config"]): each for each in json.loads(ran.stdout)["results"]}


def test_the_example_passes_and_its_training_step_has_one_trace_of_its_own():
    ran = samattn("check", "--thresholds", "examples/traced.yaml", "--all", "-f", "json", cwd=ROOT)
    results = {each["rule"]: each for each in json.loads(ran.stdout)["results"]}
    assert (ran.returncode, {each["outcome"] for each in results.values()}) == (0, {"pass"})
    assert results["global-layers"]["value"] == 1
    assert (
        results["size"]["value"]
        == (512 // 16) ** 2 * 384 + (3 * 256 + 1) * 384 + 6 * 12 * 384**2 + 6 * (4 + 5 + 4) * 384
    )
    assert results["trains"]["value"] > results["fits"]["value"]


def test_a_baseline_guards_a_module_and_a_limit_says_what_contributes(folder, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # where baselines are not written
    made = samattn("baseline", "create", cwd=folder)
    assert made.returncode == 0, made.stderr
    results = checked(folder, "--all", code=1)
    assert results["growth", "trace:net:Mlp"]["outcome"] == "pass"
    assert results["size", "trace:net:Mlp"]["outcome"] == "pass"
    wider = MODULE.replace("width=8", "width=9 ")  # of another size: bytecode of this second is taken for new
    write(folder, {"net.py": wider})
    results = checked(folder, "trace:net:Mlp", code=1)
    grown, size = results["growth", "trace:net:Mlp"], results["size", "trace:net:Mlp"]
    assert (grown["value"], grown["compared"]) == (2 * 2 * 4 * 9, 2 * 2 * 4 * 8)
    assert (size["value"], size["limit"], size["excess"]) == (4 * 9 + 9, 40, 5)
    assert size["causes"] == ["fc: 45 params"]
    assert (size["place"]["file"], size["place"]["line"]) == ("samattn.yaml", 2)
    assert size["command"] == "samattn trace net:Mlp --input 2x4"


def test_what_cannot_be_traced_as_a_profile_says_is_one_result_at_its_place(folder):
    text = """version: 1
configs:
  - trace: {target: 'net:Fails', input: 2x4}
  - trace: {target: 'nowhere:Mlp', input: 2x4}
  - trace: {target: 'net:InThreads', input: 2x4}
  - trace: {target: 'net:Mlp', input: [2x4, 'image=2x3x8x8'], name: two}
profiles:
  p: {attention: sdpa, batch_size: 3}
  q: {batch_size: 2, image_size: 9}
rules:
  - {id: a, metric: params, limit: 1, match: 'trace:n*'}
  - {id: b, metric: flops, limit: 1 FLOP, match: 'trace:n*'}
  - {id: c, profile: p, metric: params, limit: 1, match: 'trace:two'}
  - {id: d, profile: q, metric: params, limit: 1, match: 'trace:two'}
"""
    write(folder, {"samattn.yaml": text})
    ran = samattn("check", "-f", "json", cwd=folder)
    results = json.loads(ran.stdout)["results"]
    assert ran.returncode == 2
    assert [(each["config"], each["code"], each["place"]["line"]) for each in results] == [
        ("trace:net:Fails", "forward-fails", 3),
        ("trace:nowhere:Mlp", "no-such-module", 4),
        ("trace:net:InThreads", "not-whole", 5),
        ("trace:two", "not-of-traced", 8),
        ("trace:two", "not-of-traced", 9),
    ]
    assert len(results[3]["causes"]) == 1  # attention, and that the batch is not 2


def test_a_metric_that_a_module_does_not_have_could_not_be_checked(folder):
    rules = {
        "flops_ratio_vs_global": ("at_least: 0.1", "not-of-traced"),
        "measured.latency": ("limit: 1 ms", "not-of-traced"),
        "layers.window.flops": ("limit: 1 FLOP", "no-such-layer"),
        "latency": ("limit: 1 ms", "needs-device"),
        "layers.blocks.0.flops": ("limit: 1 FLOP", "unknown-metric"),
    }
    lines = (f"  - {{id: '{name}', metric: {name}, {bound}}}" for name, (bound, _) in rules.items())
    write(folder, {"samattn.yaml": f"version: 1\nconfigs: [{TARGET}]\nrules:\n" + "\n".join(lines)})
    results = checked(folder, code=2)
    assert {rule: each["code"] for (rule, _), each in results.items()} == {
        name: code for name, (_, code) in rules.items()
    }


def test_without_torch_it_says_so_once_and_never_passes(folder, monkeypatch):
    monkeypatch.setattr(ask, "find_spec", lambda _: None)
    text = RULES.replace("small.yaml, ", "").replace("limit: 40", "limit: 1 G")
    write(folder, {"samattn.yaml": text})
    (result,) = check(load_thresholds(), today=TODAY).results
    assert (result.outcome, result.code, result.place.line) == ("unchecked", "not-installed", 2)


@pytest.mark.parametrize(
    ("entry", "where", "code", "says"),
    [
        ("{trase: {target: 'a:b'}}", "2:12", "unknown-key", "trace"),
        ("{trace: {target: 'a:b', submodul: x}}", "2:35", "unknown-key", "submodule"),
        ("{trace: {target: 'a:b', args: [3]}}", "2:41", "wrong-type", "a mapping"),
        ("{trace: {input: 2x4}}", "2:19", "missing-key", "my_package.encoder:build"),
        ("{trace: {target: 'a:b', input: 2x}}", "2:42", "not-a-shape", "1x3x1024x1024"),
        ("{trace: {target: 'a:b', input: [2x4, 2x4:int63]}}", "2:48", "unknown-dtype", "int64"),
        ("{trace: {target: 'a:b', dtype: float61}}", "2:42", "unknown-value", "float16"),
        ("{trace: {target: 'a:b', args: 5}}", "2:41", "wrong-type", "depth"),
        ("{path: x.yaml, trace: {target: 'a:b'}}", "2:11", "not-one-form", "path"),
        ("{}", "2:11", "not-one-form", "trace"),
        ("{trace: {target: 'a:b'}}, {trace: {target: 'a:b', input: 2x4}}", "2:11", "duplicate-name", "name:"),
    ],
)
def test_wrong_keys_have_their_place(entry, where, code, says, tmp_path):
    text = f"version: 1\nconfigs: [{entry}]\nrules: [{{id: a, metric: flops, limit: 1 FLOP}}]\n"
    with pytest.raises(ConfigError) as caught:
        thresholds_of(Source(text, "samattn.yaml", "samattn", tmp_path))
    first = caught.value.problems[0]
    assert (first.where, code_of(first.message)) == (f"samattn.yaml:{where}", code)
    assert says in first.message


def test_a_base_knows_how_a_module_was_traced(tmp_path, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_BASE_REF", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    then = RULES.replace("vs: baseline", "vs: base").replace("limit: 40", "limit: 1 G")
    two = then.replace("2x4}", "2x4}, trace: {target: 'net:Fails', input: 2x4}")
    root = new(tmp_path / "repository", {"net.py": MODULE, "samattn.yaml": two, "small.yaml": SMALL})
    git(root, "checkout", "-q", "-b", "feature")
    write(root, {"samattn.yaml": then.replace("2x4", "1x4")})
    results = checked(root, "--base", "main", code=2)
    assert results["growth", "trace:net:Mlp"]["code"] == "target-changed"
    by_code = {each["code"]: each for each in results.values() if each["rule"] != "growth"}
    assert "input 2x4 -> 1x4" in by_code["target-changed"]["summary"]
    assert "trace:net:Fails" in by_code["config-unlisted"]["summary"]


def test_an_unknown_module_is_refused_with_the_nearest(folder):
    ran = samattn("check", "trace:net:Mpl", cwd=folder)
    assert (ran.returncode, "[unknown-target]" in ran.stderr, "trace:net:Mlp" in ran.stderr) == (
        2,
        True,
        True,
    )


def test_a_command_that_runs_elsewhere_goes_there_first():
    asked = ask.Asked("net:Mlp", ("2x4",), {"width": 9, "kind": "a b"}, mode="training", folder="some where")
    encoder = traced.TracedEncoder(asked, None)
    assert encoder.command == (
        "cd 'some where' && samattn trace net:Mlp --input 2x4 --arg width=9 --arg 'kind=a b' --mode training --optimizer adamw"
    )
    assert targets.SIZES.findall("ids1=1x77:int64")[0] == "1x77"
