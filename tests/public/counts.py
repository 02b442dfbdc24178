"""The table of tests/README.md with the counts of samattn and of public implementations; each is run on meta.

python -m tests.refresh counts
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from samattn_cli import load_config
from samattn_cli.tape.encoder import forward
from samattn_cli.units import format_side

HERE = Path(__file__).parent
HEADER = """\
| preset | image | parameters, samattn | public | FLOPs, samattn | public | difference |
| :-- | --: | --: | --: | --: | --: | --: |
"""


def families() -> dict[str, ModuleType]:
    """The modules that count a public implementation, by their names: each has PRESETS, `count` and RECORDS."""
    files = (path.stem for path in sorted(HERE.glob("*.py")) if "\nRECORDS" in path.read_text("utf-8"))
    return {name: import_module(f"tests.public.{name}") for name in files}


def row(preset: str, public: tuple[int, int]) -> str:
    """A line of the table."""
    config = load_config(preset)
    passed = forward(config)
    params, flops = public
    difference = abs(passed.params - params) + abs(passed.flops - flops)
    size = format_side(config.image_size)
    numbers = " | ".join(f"{number:,}" for number in (passed.params, params, passed.flops, flops, difference))
    return f"| {preset} | {size} | {numbers} |"


def rows() -> Iterator[str]:
    """All lines, counted now."""
    for module in families().values():
        yield from (row(preset, module.count(preset)) for preset in module.PRESETS)
