"""Generated encoders of every family against the real stack: parameters, counts and every byte of both passes.

The suite takes a few, and ``pytest -m exhaustive`` takes 200. ``SAMATTN_ENCODERS=400 pytest -n 0 -m exhaustive
tests/stack/test_any_encoder.py`` takes 400.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig
from samattn_cli.studies.verify import verify
from tests.support.any_encoder import any_encoder

COUNT = int(os.environ.get("SAMATTN_ENCODERS", "200"))
GENERATED = settings(
    deadline=None,
    derandomize=True,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # an encoder is small as it is drawn: looking for a smaller one takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("examples", [2, pytest.param(COUNT, id="many", marks=pytest.mark.exhaustive)])
def test_any_encoder_is_what_the_real_stack_is(examples: int) -> None:
    @settings(parent=GENERATED, max_examples=examples)
    @given(config=any_encoder(), every_layer=st.booleans())
    def agree(config: EncoderConfig, every_layer: bool) -> None:
        verdict = verify(config, every_layer=every_layer)
        found = {name: check.differences[:3] for name, check in verdict.checks.items() if check.differences}
        assert found == {}
        assert verdict.status == "exact", verdict

    agree()
