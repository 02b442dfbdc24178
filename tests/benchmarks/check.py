"""CPU seconds of `samattn check` over 200 configs, the whole process with git, as a CI job starts it.

    python tests/benchmarks/check.py    # under a minute on two cores

The configs are 200 different ones (presets at several batches, as files that extend them); each case is run three times
and the fastest is shown, with the peak of resident memory and what was imported. The peer is FlopCounterMode on the real
stack on the meta device, over some of the configs, evenly chosen: a script that has torch imported and counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from samattn_cli.encoder.presets import presets

CONFIGS = 200
LIMIT = 3.0
"""CPU seconds."""
REPEATS = 3
SAMPLE = 20
RULES = {
    "flops": [("flops", "100 PFLOP")],
    "flops, params and peak": [("flops", "100 PFLOP"), ("params", "100 G"), ("peak_memory", "1 PiB")],
    "training memory": [("training_memory", "1 PiB")],
    "a layer and a kind of layer": [("layers.0.flops", "100 PFLOP"), ("layers.global.count", "100")],
    "against all global": [("comparison.vs_all_global.flops", "100 PFLOP")],
}
CHANGED = {"against a base, none changed": 0, "10 changed": 10, "all changed, and fail": CONFIGS}
"""How many configs are given a channel more, which breaks the rule."""
PROGRAM = """
import json, os, resource, sys
leave = os._exit
def tell(code):
    usage, git = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = usage.ru_utime + usage.ru_stime + git.ru_utime + git.ru_stime
    heavy = [name for name in ("torch", "numpy") if name in sys.modules]
    told = {"code": code, "seconds": seconds, "mib": usage.ru_maxrss // 1024, "imported": heavy}
    print(json.dumps(told), file=sys.stderr, flush=True)
    leave(code)
os._exit = tell
sys.argv = ["samattn", "check", *sys.argv[1:]]
from samattn_cli.cli import run
run()
"""
COUNTED = f"""
import json, logging, resource, sys, time
from pathlib import Path
import torch
from torch.utils.flop_counter import FlopCounterMode
from samattn_cli import load_config
from samattn_cli.stack.encoder import build, image_for
logging.disable(logging.WARNING)
def count(path):
    config = load_config(path)
    model, image = build(config, "meta"), image_for(config, "meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops()
paths = sorted(Path("encoders").iterdir())
count(paths[0])
began = time.process_time()
flops = sum(count(path) for path in paths[::len(paths) // {SAMPLE}])
seconds = time.process_time() - began
print(flops)
mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({{"seconds": seconds, "mib": mib}}), file=sys.stderr)
"""


def write(folder: Path, rules: list[tuple[str, str]]) -> None:
    """The configs, and a thresholds file about them."""
    names = list(presets())
    encoders = folder / "encoders"
    encoders.mkdir(exist_ok=True)
    for number in range(CONFIGS):
        batch, preset = divmod(number, len(names))
        slices = 96 if names[preset].endswith("_3d") else 1
        text = f"extends: {names[preset]}\nrun: {{batch_size: {slices * (batch + 1)}}}\n"
        (encoders / f"{number:03}.yaml").write_text(text, "utf-8")
    lines = [
        f"  - {{id: r{index}, metric: {metric}, limit: {limit}}}"
        for index, (metric, limit) in enumerate(rules)
    ]
    text = "\n".join(["version: 1", 'configs: ["encoders/*.yaml"]', "rules:", *lines, ""])
    (folder / "samattn.yaml").write_text(text, "utf-8")


def commit(folder: Path) -> None:
    """The folder as a repository, so that what is changed from here on has a base."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "base"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)


def change(folder: Path, number: int) -> None:
    """Let some configs cost more."""
    for path in sorted((folder / "encoders").iterdir())[:number]:
        path.write_text(path.read_text("utf-8") + "in_chans: 4\n", "utf-8")


def run(folder: Path, program: str, *options: str) -> tuple[float, dict[str, Any], str]:
    """The fastest of some runs: its seconds, what it told of itself, and the last line that it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(REPEATS):
        command = [sys.executable, "-c", program, *options]
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        told = json.loads(ran.stderr.splitlines()[-1])
        found.append((told["seconds"], told, ran.stdout.splitlines()[-1]))
    return min(found, key=lambda each: each[0])


def show(title: str, folder: Path, *options: str) -> None:
    """A case, against its limit."""
    seconds, told, verdict = run(folder, PROGRAM, *options)
    imported = ", ".join(told["imported"]) or "no torch, no NumPy"
    print(
        f"  {title:32} {seconds:6.2f} s  {told['mib']:4} MiB  (at most {LIMIT:.0f} s)  exit {told['code']}; {imported}; {verdict}"
    )


def show_peer(folder: Path) -> None:
    """What FLOPs alone take by FlopCounterMode, and how often a check of them fits into that."""
    checked, *_ = run(folder, PROGRAM)
    _, told, _ = run(folder, COUNTED)
    whole = told["seconds"] / SAMPLE * CONFIGS
    print(
        f"  FlopCounterMode on meta, FLOPs   {whole:6.1f} s  {told['mib']:4} MiB  {whole / checked:.1f}x the check of "
        f"flops (extrapolated from {SAMPLE} configs in {told['seconds']:.2f} s)"
    )


def main() -> None:
    """Each case, without a base and with one."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; {CONFIGS} configs")
    for title, rules in RULES.items():
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), rules)
            show(title, Path(name))
    for title, number in CHANGED.items():
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), [])
            with (Path(name) / "samattn.yaml").open("a", encoding="utf-8") as file:
                file.write('  - {id: growth, metric: flops, vs: base, increase: "+0"}\n')
            commit(Path(name))
            change(Path(name), number)
            show(title, Path(name), "--base", "main")
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), RULES["flops"])
        show_peer(Path(name))


if __name__ == "__main__":
    main()
