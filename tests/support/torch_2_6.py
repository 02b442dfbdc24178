"""What torch 2.6.0 does in another way than later releases, for the tests that it would fail. It does not import torch."""

from __future__ import annotations

from importlib.metadata import version

import pytest

IS_TORCH_2_6 = version("torch").startswith("2.6.")

SAYS_MORE = pytest.mark.skipif(
    IS_TORCH_2_6, reason="in torch 2.6.0 the cross-check adds that its slices are those of torch 2.9.1"
)
"""Of pages that show a cross-check. tests/stack/test_torch_versions.py shows what it adds."""

FSDP_ON_CPU = pytest.mark.skipif(
    IS_TORCH_2_6, reason="FSDP2 of torch 2.6.0 does not run on a CPU: CPU streams have no events there"
)
