"""A trace runs each operation once for operands of the same layout: twins of a block are remembered, and nothing else differs."""

from __future__ import annotations

import pytest
import torch

from samattn_cli.stack import meta
from samattn_cli.stack.dynamo import without_dynamo
from samattn_cli.stack.tracing import as_cuda, follow
from samattn_cli.stack.tracing.run import Inputs, trace
from tests.public.segment_anything_encoder import official
from tests.public.traced import models, module_of
from tests.support.ampere import ON_AMPERE


def both(module, shapes, monkeypatch):
    """The traces of a module with what is remembered, and with each operation run."""
    inputs = Inputs({name: (shape, "float32") for name, shape in shapes.items()}, "meta")
    with without_dynamo():
        remembered = trace(module, inputs, "training", [], ON_AMPERE)
        monkeypatch.setattr(follow, "run_on_meta", lambda func, args, kwargs: func(*args, **kwargs))
        return remembered, trace(module, inputs, "training", [], ON_AMPERE)


def test_the_second_of_two_blocks_is_remembered(monkeypatch):
    monkeypatch.setattr(meta, "_RESULTS", {})
    with torch.device("meta"):
        module = official.ImageEncoderViT(
            img_size=64, depth=2, embed_dim=16, num_heads=2, out_chans=8, use_rel_pos=True
        )
    remembered, run = both(module, {"0": (1, 3, 64, 64)}, monkeypatch)
    assert remembered == run
    known = sum(layouts is not None for layouts in meta._RESULTS.values())
    assert known < 0.8 * (len(run.forward) + len(run.step))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "word", ["SAM ViT-B", "SAM 2", "Swin", "ViT-B", "Hiera", "MAE", "LW-DETR", "RF-DETR"]
)
def test_public_models_are_traced_alike(monkeypatch, word):
    for model in models([word]):
        module, shapes = module_of(model)
        with monkeypatch.context() as patch:
            remembered, run = both(module, shapes, patch)
        assert remembered == run, model.name


def test_a_number_that_is_assigned_makes_no_tensor():
    x = torch.zeros(2, 3, device="meta")
    before = torch.Tensor.__setitem__
    real = torch.zeros(2)
    with as_cuda.numbers_on_host():
        x[0] = 1.0
        real[1] = 2
        with pytest.raises(IndexError):
            x[5] = 1
    assert real.tolist() == [0, 2]
    assert torch.Tensor.__setitem__ is before
