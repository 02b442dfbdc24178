"""Seconds of `samattn check` over 200 configs, the whole process, as a CI job starts it.

    python tests/benchmarks/check.py    # under a minute on two cores

The configs are 200 different ones (presets at several sizes and batches, as files that extend them); each case is run
three times and the fastest is shown, with its time on a CPU (less than the other where the machine is shared), the peak
of resident memory and whether torch was imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from samattn_cli.config.presets import presets

CONFIGS = 200
REPEATS = 3
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
    usage = resource.getrusage(resource.RUSAGE_SELF)
    heavy = [name for name in ("torch", "numpy") if name in sys.modules]
    told = {"code": code, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss // 1024, "imported": heavy}
    print(json.dumps(told), file=sys.stderr, flush=True)
    leave(code)
os._exit = tell
sys.argv = ["samattn", "check", *sys.argv[1:]]
from samattn_cli.cli import run
run()
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


def show(title: str, folder: Path, *options: str) -> None:
    """The fastest of some runs."""
    times, cpus = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        command = [sys.executable, "-c", PROGRAM, *options]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - start)
        told = json.loads(ran.stderr.splitlines()[-1])
        cpus.append(told["cpu"])
    print(
        f"{title}: {min(times):.2f} s, {min(cpus):.2f} s of a CPU, {told['mib']} MiB, "
        f"exit {told['code']}, imported {told['imported'] or 'neither torch nor NumPy'}; {ran.stdout.splitlines()[-1]}"
    )


def main() -> None:
    """Each case, without a base and with one."""
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


if __name__ == "__main__":
    main()
