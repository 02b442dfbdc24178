"""Figures of many points at once are, at each, those of a pass on its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.device.load import load_device
from samattn_cli.errors import UsageError
from samattn_cli.figures import IN_MEMORY
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.points import at, figures_at
from samattn_cli.studies.readers import FIGURES
from tests.support.sampling import examples

DEVICE = load_device("h100", "h100")
OF_FORMULAS = tuple(name for name in FIGURES if name not in IN_MEMORY)
"""A replay has no formula: sweeps run one for each point."""
TINY = {"in_chans": 3, "embed_dim": 32, "depth": 3, "num_heads": 2}
ENCODERS = {
    "sam": TINY | {"patch_size": 4, "window_size": 3, "global_attn_indexes": [2], "rel_pos": "decomposed"},
    "sam, tables of their own": TINY
    | {
        "patch_size": 4,
        "window_size": 3,
        "global_attn_indexes": [1],
        "rel_pos": "decomposed",
        "rel_pos_grid": 8,
    },
    "shifted windows": TINY | {"patch_size": 4, "window_size": 4, "shift_size": 2},
    "swin": "swin_t",
    "hiera": "sam2_hiera_t",
    "vitdet": TINY
    | {
        "block": "vitdet",
        "patch_size": 4,
        "window_size": 5,
        "residual_block_indexes": [0],
        "rel_pos": "decomposed",
    },
}
RUNS = [
    {},
    {"attention": "sdpa", "dtype": "bfloat16"},
    {"mode": "training", "autocast": "float16"},
    {"mode": "training", "checkpointing": True, "attention": "sdpa"},
]


def encoder(name: str, run: dict) -> object:
    given_ = ENCODERS[name]
    if isinstance(given_, str):
        return load_config(given_, [f"run.{key}={str(value).lower()}" for key, value in run.items()])
    return load_config(given_ | {"image_size": 64, "run": run})


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(ENCODERS)),
    run=st.sampled_from(RUNS),
    sizes=st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(2, 5)),
        min_size=1,
        max_size=4,
    ),
)
def test_each_point_has_the_figures_of_its_own_pass(name, run, sizes):
    config = encoder(name, run)
    unit = 224 if name == "hiera" else 33
    heights, widths, batches, windows = (np.array(column) for column in zip(*sizes, strict=True))
    points = {"height": heights * unit, "width": widths * unit, "batch_size": batches}
    if name.startswith("sam"):
        points["window"] = windows
    found = figures_at(config, points, list(OF_FORMULAS), DEVICE)
    for index in range(len(sizes)):
        alone = Passes(at(config, {axis: int(values[index]) for axis, values in points.items()}), DEVICE)
        for metric in OF_FORMULAS:
            assert found[metric][index] == FIGURES[metric](alone), metric


def test_figures_beyond_64_bits_are_exact():
    config = load_config("sam_vit_b")
    side = 1 << 19
    points = {
        "height": np.array([1024, side]),
        "width": np.array([1024, side]),
        "batch_size": np.array([1, 64]),
    }
    found = figures_at(config, points, ["flops"])["flops"]
    wanted = Passes(at(config, {"height": side, "width": side, "batch_size": 64})).figures.flops
    assert wanted > 2**63
    assert list(found) == [972_077_334_528, wanted]


def test_a_point_that_an_encoder_cannot_have_is_named():
    points = {"height": np.array([224, 224, 100]), "width": np.array([224, 100, 224])}
    with pytest.raises(UsageError, match=r"^at image_size (224x100|100x224): .+"):
        figures_at(load_config("sam2_hiera_t"), points, ["flops"])
