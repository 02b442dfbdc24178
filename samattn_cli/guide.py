"""The pages of documentation by topic: Markdown files next to what they describe, where a forge shows them.

`samattn guide` shows the same files. A wheel has them in `samattn_cli/pages/`, under their paths in the repository (see
`pyproject.toml`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Page:
    """The path of a file from the root of the repository, and a summary of one line."""

    path: str
    summary: str


PAGES = {
    "start": Page("README.md", "What samattn answers, with an example of each command"),
    "commands": Page("examples/README.md", "Every command and option; formats, exit codes, Python"),
    "config": Page("configs/README.md", "Your own encoder: every key and word; import one"),
    "families": Page("samattn_cli/families/README.md", "A family of encoders of your own, in one file"),
    "memory": Page("examples/memory.md", "Will it fit: kernels, training steps, the largest size"),
    "plan": Page("examples/plan.md", "Train on several GPUs: what fits, how long, what it costs"),
    "devices": Page("examples/devices.md", "Time on a device: roofline, measuring, calibrating"),
    "sweep": Page("examples/sweep.md", "How cost grows with resolution, window, batch, any key"),
    "placements": Page("examples/placements.md", "Where the global layers go, and what tokens see"),
    "explain": Page("examples/explain.md", "The formula of a figure, and what other tools count"),
    "diff": Page("examples/diff.md", "What changed between two encoders, or since a commit"),
    "check": Page("examples/ci/README.md", "Limits on what encoders may cost, in CI"),
    "claims": Page("examples/claims/README.md", "What notes on SAM claim, checked"),
    "design": Page("samattn_cli/README.md", "How samattn works: Tape, real stack, cross-check"),
    "evidence": Page("tests/README.md", "Why you can trust a figure, and where other code differs"),
    "speed": Page("tests/benchmarks/README.md", "How fast samattn is, and how that is measured"),
    "contributing": Page(".github/CONTRIBUTING.md", "Set up, add to samattn, what is stable"),
}

OTHER_TOPICS = {
    "family": "families",
    "plugins": "families",
    "readme": "start",
    "help": "start",
    "analyze": "start",
    "metrics": "commands",
    "python": "commands",
    "api": "commands",
    "formats": "commands",
    "configs": "config",
    "keys": "config",
    "import": "config",
    "trace": "config",
    "implementation": "config",
    "schema": "config",
    "parallel": "plan",
    "ddp": "plan",
    "fsdp": "plan",
    "gpus": "plan",
    "fit": "memory",
    "oom": "memory",
    "kernels": "memory",
    "attention": "memory",
    "training": "memory",
    "device": "devices",
    "measure": "devices",
    "calibrate": "devices",
    "time": "devices",
    "latency": "devices",
    "compare-placements": "placements",
    "ci": "check",
    "thresholds": "check",
    "baseline": "check",
    "init": "check",
    "verify": "evidence",
    "published": "evidence",
    "benchmarks": "speed",
}
"""Other names of topics: the commands that a page describes, and words that people may look for."""


def page_file(page: Page) -> Path:
    """The path of a page: in the package if it was installed, otherwise in the checkout."""
    shipped = _PACKAGE / "pages"
    root = shipped if shipped.is_dir() else _PACKAGE.parent
    return root / page.path
