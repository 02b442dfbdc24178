"""The index of families is what their words say, and a family is imported only when one of its words is looked up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import samattn_cli.families
from samattn_cli.encoder.registry import homes, index_of
from tests.support.running import UPDATE

FILE = Path(samattn_cli.families.__file__).with_name("index.json")


def test_the_index_is_what_the_families_declare() -> None:
    declared = {
        home.place.rpartition(".")[2]: {name: list(words) for name, words in index_of(home.family).items()}
        for home in homes()
        if not home.origin
    }
    if UPDATE:
        lines = (f"  {json.dumps(name)}: {json.dumps(index)}" for name, index in declared.items())
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    assert json.loads(FILE.read_text("utf-8")) == declared


def test_start_up_does_not_grow_with_the_families() -> None:
    """Of the families, `analyze sam_vit_h` imports the one that has its words."""
    code = (
        "import sys; from samattn_cli import analyze, load_config; analyze(load_config('sam_vit_h'), verify=False); "
        "print(*(name for name in sys.modules if name.startswith('samattn_cli.families.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[2] for name in done.stdout.split()} == {"vit"}
