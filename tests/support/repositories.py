"""Git repositories for tests: real history, made by the git binary in a bare environment."""

from __future__ import annotations

import os
import subprocess
from itertools import count
from pathlib import Path

AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@b.c"), ("DATE", "2026-01-01T00:00:00Z"))
}
NUMBERS = count()  # two commits of the same files, parent and message would be one
SETTINGS = [
    part
    for setting in (
        "protocol.file.allow=always",
        "init.defaultBranch=main",
        "init.templateDir=",  # a dozen examples of hooks
        "maintenance.auto=false",  # a process more for each commit
        "core.fsync=none",
    )
    for part in ("-c", setting)
]
BARE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
"""No user.name, no settings."""

VIT = """\
image_size: 64
patch_size: 16
embed_dim: 64
depth: 4
num_heads: 4
window_size: 2
global_attn_indexes: [1]
"""


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *SETTINGS, *arguments],
        cwd=folder,
        env=BARE | AUTHOR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def commit(root: Path, files: dict[str, str | bytes] | None = None) -> str:
    _commit(root, files or {})
    return git(root, "rev-parse", "HEAD")


def _commit(root: Path, files: dict[str, str | bytes]) -> None:
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", f"change {next(NUMBERS)}")


def new(root: Path, files: dict[str, str | bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q")
    _commit(root, files)
    return root
