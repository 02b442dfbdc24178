"""Which modules of a traced model are its layers."""

from __future__ import annotations

from torch import nn

from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.passes import TracedPasses
from tests.public.segment_anything_encoder import official
from tests.support.ampere import ON_AMPERE


def block(window: int) -> nn.Module:
    return official.Block(8, 2, window_size=window, input_size=(window, window) if window else (4, 4))


def test_a_stem_that_is_a_sequential_like_the_stages_is_not_a_layer():
    """As torchvision's swin_t is built: features.0 is the stem, features.1 and features.2 are stages."""
    stem = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8))
    model = nn.Sequential(stem, nn.Sequential(block(2), block(0)), nn.Sequential(block(2), block(0))).to(
        "meta"
    )
    passes = TracedPasses(
        trace(model, Inputs({"0": ((1, 4, 4, 3), "float32")}, "meta"), "inference", [], ON_AMPERE)
    )
    assert passes.places.layers == ("1.0", "1.1", "2.0", "2.1")
    assert list(passes.recordings) == ["0", "1.0", "1.1", "2.0", "2.1"]
    assert [product.report.windows for product in passes.products] == [4, 1, 4, 1]
