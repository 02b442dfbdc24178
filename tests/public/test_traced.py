"""Small encoders of transformers: a trace equals FlopCounterMode, MemTracker and the Tape of that implementation."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.files.load import parse_override
from samattn_cli.stack.dynamo import without_dynamo
from samattn_cli.stack.tracing.run import trace as run_and_record
from samattn_cli.studies.traced.against import against
from samattn_cli.studies.traced.passes import TracedPasses
from tests.public.traced import PIXELS, Inputs, Model, compared, module_of
from tests.support.ampere import ON_AMPERE

transformers = pytest.importorskip("transformers")

SAM = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 160,
    "window_size": 5,
    "output_channels": 16,
    "global_attn_indexes": [1],
    "mlp_dim": 192,
    "num_pos_feats": 24,
}
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def model_of(kind, settings, shape):
    config, model = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}Model")
    return Model(kind, lambda: model(config(**settings)), {PIXELS: shape})


@pytest.mark.parametrize(
    ("kind", "settings", "shape", "layers"),
    [
        ("SamVision", SAM, (2, 3, 160, 160), "3: SamVisionLayer global, SamVisionLayer window 5x5"),
        ("ViT", LAYERS | {"image_size": 64}, (1, 3, 64, 64), "2: ViTLayer global"),
        (
            "Swin",
            {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "image_size": 56, "window_size": 7},
            (1, 3, 56, 56),
            "4: SwinLayer global, SwinLayer window 7x7",
        ),
    ],
)
def test_a_small_encoder(kind, settings, shape, layers):
    """Backward of fake CUDA tensors needs a CUDA device: `python -m tests.public.traced training` has one."""
    with without_dynamo():
        row = compared(model_of(kind, settings, shape), "inference")
    assert (row.params, row.flops, row.peak.in_words, row.layers) == (True, True, "equal", layers)


def test_transformers_sam_is_the_config_of_that_implementation():
    settings = ("embed_dim=48", "depth=3", "num_heads=3", "out_chans=16", "window_size=5", "image_size=160")
    how = ("global_attn_indexes=[1]", "implementation=transformers", "run.attention=sdpa")
    config = load_config("sam_vit_b", [parse_override(text) for text in (*settings, *how)])
    with without_dynamo():
        module, shapes = module_of(model_of("SamVision", SAM, config.input_shape))
        inputs = Inputs({name: (shape, "float32") for name, shape in shapes.items()}, "meta")
        passes = TracedPasses(run_and_record(module, inputs, "inference", [], ON_AMPERE))
    assert against(passes, config).differences == ()
    windowed = load_config("sam_vit_b", [parse_override(text) for text in (*settings, how[0])])
    assert [each.what for each in against(passes, windowed).differences] == ["memory"]
