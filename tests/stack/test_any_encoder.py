"""Generated encoders of every family against the real stack: parameters, counts and every byte of both passes.

The suite takes a few. ``SAMATTN_ENCODERS=400 pytest -n 0 tests/stack/test_any_encoder.py --hypothesis-show-statistics`` takes
400, in about 10 minutes on a free core, and says how many there were of each family.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from samattn_cli import EncoderConfig
from samattn_cli.studies.verify import verify
from tests.support.any_encoder import any_encoder

COUNT = int(os.environ.get("SAMATTN_ENCODERS", "8"))


@settings(
    max_examples=COUNT,
    deadline=None,
    derandomize=True,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # an encoder is small as it is drawn: looking for a smaller one takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(config=any_encoder(), every_layer=st.booleans())
def test_any_encoder_is_what_the_real_stack_is(config: EncoderConfig, every_layer: bool) -> None:
    verdict = verify(config, every_layer=every_layer)
    assert {name: check.differences[:3] for name, check in verdict.checks.items() if check.differences} == {}
    assert verdict.status == "exact", verdict
