"""The peaks of candidates: exact up to the last that fits, and bounds after it that the real peaks are not below."""

import numpy as np
import pytest

from samattn_cli import load_config
from samattn_cli.studies.candidates import grown, resolution
from samattn_cli.studies.points import figures_at, least_peaks_at

METRICS = ["peak_bytes", "training_bytes"]
MIB = 1 << 20


@pytest.fixture(scope="module")
def candidates():
    small = ["depth=2", "global_attn_indexes=[1]", "embed_dim=48", "num_heads=3", "run.attention=sdpa"]
    config = load_config("sam_vit_b", small)
    return grown(config, resolution(config, (1, 1)), 4 * MIB)


@pytest.fixture(scope="module")
def exact(candidates):
    return figures_at(candidates.config, candidates.points, METRICS)


@pytest.mark.parametrize("limit", [MIB, 16 * MIB, 64 * MIB], ids=["none fits", "one mode", "both"])
def test_peaks_are_exact_up_to_the_last_that_fits(candidates, exact, limit):
    found = candidates.peaks(METRICS, limit)
    for metric in METRICS:
        fits = exact[metric] <= limit
        after = max(np.flatnonzero(fits), default=-1) + 1
        assert (found[metric][:after] == exact[metric][:after]).all()
        assert ((found[metric] <= limit) == fits).all()


def test_a_candidate_that_is_too_large_has_a_bound(candidates, exact):
    """Otherwise the pass of each candidate would be run in full."""
    bounds = least_peaks_at(
        candidates.config, candidates.points, METRICS, first=3
    )  # embedding, positions, a block
    for metric in METRICS:
        assert (bounds[metric] <= exact[metric]).all()
        assert bounds[metric][-1] > bounds[metric][0]
    assert (candidates.peaks(METRICS, 8 * MIB)["peak_bytes"][-3:] > 8 * MIB).all()
