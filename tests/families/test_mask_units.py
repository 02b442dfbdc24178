"""Hiera: counts that the paper gives, and where its blocks attend."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.tape.encoder import forward


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("hiera_t", 28),
        ("hiera_s", 35),
        ("hiera_b", 51),
        ("hiera_b_plus", 70),
        ("hiera_l", 214),
        ("hiera_h", 673),
    ],
)
def test_parameters_are_those_that_the_paper_gives(preset, millions):
    """In millions, with the classifier: arXiv:2306.00989, Table 1, which has 51 for 51.5."""
    assert forward(load_config(preset)).params / 1e6 == pytest.approx(millions, abs=0.6)


def test_blocks_lag_a_stage_and_then_attend_to_all_tokens():
    layers = load_config("hiera_t").layers
    assert [layer.window_size[0] for layer in layers] == [8, 8, 4, 4, *[0] * 8]
    assert [layer.q_stride for layer in layers] == [1, 2, 1, 2, *[1] * 6, 2, 1]
    assert [layer.grid[0] for layer in layers] == [56, 56, 28, 28, *[14] * 7, 7]
