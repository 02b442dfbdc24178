"""Whether two commits give the same reports: every preset through every study, exact figures, key by key.

    python -m tests.benchmarks.same_reports 8ebdc47          # this tree against a commit; about four minutes
    python -m tests.benchmarks.same_reports 8ebdc47 HEAD --presets sam_vit_b,swin_t

Prints what differs (a key that is new on the right is told apart from one that changed or went) and exits 1 if anything
changed or went. Exit codes of a few commands are compared, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent.parent
VERSION_KEYS = {"samattn_version"}

WORKER = """
import json, sys
from samattn_cli import analyze, compare_placements, explain, fit, load_config, load_device, sweep, to_json, Grid
device = load_device("a100_80")
def forms(name):
    config = load_config(name)
    yield "analyze", analyze(config, verify=False)
    yield "analyze on a device", analyze(config, verify=False, device=device)
    trained = load_config(name, ["run.mode=training", "run.batch_size=2", "run.dtype=bfloat16"])
    yield "analyze in training", analyze(trained, verify=False)
    yield "explain", explain(config)
    side = config.image_size
    yield "sweep", sweep([name], Grid(resolutions=(side,), batch_sizes=(1, 3)))
    yield "placements", compare_placements(config)
out = {}
for name in sys.argv[1].split(","):
    out[name] = {}
    try:
        for what, report in forms(name):
            out[name][what] = json.loads(to_json(report))
    except Exception as error:
        out[name]["error"] = f"{type(error).__name__}: {error}"; print(name, out[name]["error"], file=sys.stderr)
print(json.dumps(out))
"""

COMMANDS = (
    ["analyze", "sam_vit_b", "--no-verify"],
    ["analyze", "nothing_of_this_name"],
    ["analyze", "sam_vit_b", "--set", "embed_dim=7"],
    ["sweep", "sam_vit_b", "--resolutions", "512:1024:256"],
    ["sweep", "sam_vit_b", "--resolutions", "none"],
    ["diff", "sam_vit_b", "sam_vit_l"],
    ["fit", "sam_vit_b", "--memory", "8GiB"],
    ["check"],
    ["explain", "sam_vit_b", "neck"],
    ["frobnicate"],
)


@contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """A checkout of a commit; of None, this tree as it is."""
    if commit is None:
        yield ROOT
        return
    with TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def python(tree: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python with the samattn of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or tree,
    )


def reports(tree: Path, presets: str) -> dict[str, Any]:
    """All reports of presets."""
    done = python(tree, "-c", WORKER, presets)
    if done.returncode:
        sys.exit(f"{tree}: {done.stderr}")
    return dict(json.loads(done.stdout))


def exit_codes(tree: Path) -> dict[str, int]:
    """Of `COMMANDS`, in an empty folder."""
    with TemporaryDirectory() as folder:
        return {
            " ".join(words): python(tree, "-m", "samattn_cli", *words, cwd=Path(folder)).returncode
            for words in COMMANDS
        }


def flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each number and text of a report with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in VERSION_KEYS:
                yield from flat(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from flat(item, (*path, str(index)))
    else:
        yield path, value


def main() -> None:
    """Compare two trees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?")
    parser.add_argument(
        "--presets", default=",".join(sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
    )
    asked = parser.parse_args()
    with tree_of(asked.before) as before, tree_of(asked.after) as after:
        old, new = (dict(flat(reports(tree, asked.presets))) for tree in (before, after))
        old_codes, new_codes = exit_codes(before), exit_codes(after)
    added = [path for path in new if path not in old]
    gone = [path for path in old if path not in new]
    changed = [path for path in old if path in new and old[path] != new[path]]
    print(f"{len(old):,} values before, {len(new):,} after; {len(asked.presets.split(','))} presets")
    for what, paths in (("new keys", added), ("keys that went", gone), ("changed", changed)):
        print(f"{what}: {len(paths):,}")
        keys = Counter(".".join(part for part in path[1:] if not part.isdigit()) for path in paths)
        for key, number in keys.most_common(40):
            example = next(path for path in paths if ".".join(p for p in path[1:] if not p.isdigit()) == key)
            print(
                f"  {number:6,}  {key}   e.g. {example[0]}: {old.get(example)!r} -> {new.get(example)!r}"[
                    :300
                ]
            )
    codes = {words: (code, new_codes[words]) for words, code in old_codes.items() if code != new_codes[words]}
    print(f"exit codes: {len(old_codes)} commands, {len(codes)} differ {codes or ''}")
    sys.exit(bool(gone or changed or codes))


if __name__ == "__main__":
    main()
