"""Rows of issue 20 about many encoders: searches, checks, fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from samattn_cli.encoder.presets import presets
from tests.benchmarks.check import commit
from tests.benchmarks.measuring import Line, Row, Trees, Used, command, in_turns, line, run


def _of_today(what: str, target: float, *words: str, runs: int = 1) -> Row:
    """CPU seconds of a command, as a share of what the commit takes."""

    def row(trees: Trees) -> Iterator[Line]:
        old, new = in_turns(runs, *(partial(run, tree, trees.work, command(*words)) for tree in trees[:2]))
        yield line(what, old, new, target)

    return row


DEEP = "extends: sam_vit_h\ndepth: 64\nglobal_attn_indexes: [15, 31, 47, 63]\n"
RULES = (
    "{id: flops, metric: flops, limit: 100 PFLOP}",
    "{id: params, metric: params, limit: 100 G}",
    "{id: peak, metric: peak_memory, limit: 1 PiB}",
)
GROWTH = ('{id: growth, metric: flops, vs: base, increase: "+0"}',)


def _search_of_64(trees: Trees) -> Iterator[Line]:
    """C(64,16), which the commit refuses: the seconds of this tree, next to the limit of 2 s."""
    (trees.work / "deep.yaml").write_text(DEEP, "utf-8")
    words = command("compare-placements", "deep.yaml", "--search", "16")
    now = run(trees.now, trees.work, words)
    yield Line(
        "compare-placements --search 16 of 64 layers (4.9e14)",
        None,
        now.seconds,
        "s",
        2.0,
        "refused by the commit",
        peaks=(None, now.peak_bytes),
        limited=True,
    )


def _configs(trees: Trees, number: int, rules: tuple[str, ...]) -> Path:
    """A folder with so many configs and a thresholds file: the presets that the commit has, at growing batches."""
    folder = trees.work / f"check{number}{len(rules)}"
    (folder / "encoders").mkdir(parents=True)
    names = [name for name in presets() if (trees.before / "configs" / f"{name}.yaml").exists()]
    for at in range(number):
        batch, preset = divmod(at, len(names))
        text = f"extends: {names[preset]}\nrun: {{batch_size: {(96 if names[preset].endswith('_3d') else 1) * (batch + 1)}}}\n"
        (folder / "encoders" / f"{at:04}.yaml").write_text(text, "utf-8")
    lines = ["version: 1", 'configs: ["encoders/*.yaml"]', "rules:", *(f"  - {rule}" for rule in rules), ""]
    (folder / "samattn.yaml").write_text("\n".join(lines), "utf-8")
    return folder


def _check(trees: Trees) -> Iterator[Line]:
    """Seconds and memory of 1,000 configs, and what they are to those of 200 and of 50."""
    used: dict[int, list[Used]] = {}
    for number in (50, 200, 1000):
        folder = _configs(trees, number, RULES)
        used[number] = [run(tree, folder, command("check")) for tree in trees[:2]]
    few, some, many = used.values()
    yield line("check of 1,000 configs", *many, 1.0, "no more than today")
    shares = [of_many.seconds / 5 / of_some.seconds for of_many, of_some in zip(many, some, strict=True)]
    yield Line("the same, time of a config, of that with 200", *shares, "x", 1.1)
    shares = [of_many.peak_bytes / of_few.peak_bytes for of_many, of_few in zip(many, few, strict=True)]
    yield Line("the same, peak memory, of that with 50", *shares, "x", 2.0)


def _check_base(trees: Trees) -> Iterator[Line]:
    """1,000 configs that all changed since the base, and fail."""
    folder = _configs(trees, 1000, GROWTH)
    commit(folder)
    for path in (folder / "encoders").iterdir():
        path.write_text(path.read_text("utf-8") + "in_chans: 4\n", "utf-8")
    old, now = (run(tree, folder, command("check", "--base", "main"), exits=(1,)) for tree in trees[:2])
    yield line("check --base, 1,000 changed", old, now, 0.35)
    yield Line("the same, peak memory", old.peak_bytes, now.peak_bytes, "B", 300e6, limited=True)


def _fit(encoder: str) -> Row:
    words = ("fit", encoder, "--device", "rtx_4090")
    return _of_today(" ".join(words), 0.2, *words)


SEARCH = ("compare-placements", "sam_vit_h", "--search", "8")

ROWS: dict[str, Row] = {
    "fit-swin": _fit("swin_l_384"),
    "fit-vit": _fit("sam_vit_h"),
    "search": _of_today(f"{' '.join(SEARCH)} (10.5 million)", 0.25, *SEARCH, runs=3),
    "search-64": _search_of_64,
    "check": _check,
    "check-base": _check_base,
}
