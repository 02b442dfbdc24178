"""Thresholds files and the encoders that they are about, made in a folder."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from samattn_cli.gate.load_thresholds import ThresholdsFile, load_thresholds
from samattn_cli.gate.reports.check import CheckReport
from samattn_cli.gate.run import check
from samattn_cli.gate.thresholds import Thresholds

SMALL = (
    "image_size: 64\npatch_size: 16\nembed_dim: 32\ndepth: 4\nnum_heads: 2\nwindow_size: 2\n"
    "global_attn_indexes: [1]\npos_embed: none\n"
)
"""Blocks 0, 2 and 3 windowed, block 1 global, on a grid of 4x4; a neck-less ViT with little in it."""

TODAY = date(2026, 11, 22)


def folder(path: Path, rules: str, *, more: str = "", configs: str = '["encoders/*.yaml"]') -> ThresholdsFile:
    """A folder with one small encoder, and the thresholds file about it."""
    (path / "encoders").mkdir(exist_ok=True)
    (path / "encoders" / "small.yaml").write_text(SMALL, "utf-8")
    file = path / "samattn.yaml"
    file.write_text(f"version: 1\nconfigs: {configs}\n{more}\nrules:\n{rules}\n", "utf-8")
    return load_thresholds(file)


def checked(path: Path, rules: str, *given: str, more: str = "", **options: object) -> CheckReport:
    """The check of such a folder."""
    return check(folder(path, rules, more=more), given, **{"today": TODAY, **options})  # type: ignore[arg-type]


def thresholds(path: Path, text: str) -> Thresholds:
    """What a file with this text says."""
    file = path / "thresholds.yaml"
    file.write_text(text, "utf-8")
    return load_thresholds(file).thresholds
