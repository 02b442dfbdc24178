"""The table of README that sets samattn's counts beside those of public implementations; each is run on meta.

python tests/public_counts.py
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from samattn_cli.config.families import BLOCKS, NECKS, PATCH_EMBEDS, POS_EMBEDS, TRANSITIONS
from samattn_cli.cost.encoder import forward

HERE = Path(__file__).parent
NOT_FAMILIES = {"public_counts", "public_counting"}
HEADER = """\
| preset | image | parameters, samattn | public | FLOPs, samattn | public | difference |
| :-- | --: | --: | --: | --: | --: | --: |
"""


WORDS_HEADER = """\
| key | word | what it is | tokens | attention kernels |
| :-- | :-- | :-- | :-- | :-- |
"""


def words() -> Iterator[str]:
    """A line for each word of the families: what it is, how the tokens lie that it takes and makes, its kernels."""
    yield from (_word("block", *item, item[1].layout, ", ".join(item[1].kernels)) for item in BLOCKS.items())
    yield from (_word("patch_embed", *item, item[1].makes, "") for item in PATCH_EMBEDS.items())
    for key, parts in (("pos_embed", POS_EMBEDS), ("transition", TRANSITIONS), ("neck", NECKS)):
        for word, part in parts.items():
            yield _word(key, word, part, f"{part.takes} to {part.makes}" if part.makes else part.takes, "")


def _word(key: str, word: str, declared: Any, tokens: str, kernels: str) -> str:
    return f"| `{key}` | `{word}` | {declared.summary.rstrip('.')} | {tokens} | {kernels} |"


def families() -> dict[str, tuple[str, ...]]:
    """The modules that count a public implementation, with the presets that each has."""
    names = sorted(path.stem for path in HERE.glob("public_*.py") if path.stem not in NOT_FAMILIES)
    return {name: import_module(name).PRESETS for name in names}


def row(preset: str, public: tuple[int, int]) -> str:
    """A line of the table."""
    config = load_config(preset)
    passed = forward(config)
    (params, flops), (height, width) = public, config.image_size
    difference = abs(passed.params - params) + abs(passed.flops - flops)
    size = f"{height}" if height == width else f"{height}x{width}"
    numbers = " | ".join(f"{number:,}" for number in (passed.params, params, passed.flops, flops, difference))
    return f"| {preset} | {size} | {numbers} |"


def rows() -> Iterator[str]:
    """All lines, counted now."""
    for module, presets in families().items():
        yield from (row(preset, import_module(module).count(preset)) for preset in presets)


if __name__ == "__main__":
    print(WORDS_HEADER + "\n".join(words()))  # noqa: T201
    print(HEADER + "\n".join(rows()))  # noqa: T201
