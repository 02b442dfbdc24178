"""LW-DETR: checkpoints with the names of the authors' code, Atten4Vis/LW-DETR, models/backbone."""

from __future__ import annotations

import re

import pytest
import torch

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.support.checkpoints import expanded
from tests.support.importing import is_preset

AUTHORS = {  # samattn's names to those of the authors
    r"^pos_embed\.pos_embed$": "encoder.pos_embed",
    r"^(patch_embed|blocks)\.": r"encoder.\1.",
    r"^neck\.scale_layers\.(\d)\.projector_layer\.bottlenecks\.(\d)\.conv(\d)\.": r"projector.stages.\1.0.m.\2.cv\3.",
    r"^neck\.scale_layers\.(\d)\.projector_layer\.conv(\d)\.": r"projector.stages.\1.0.cv\2.",
    r"^neck\.scale_layers\.(\d)\.layer_norm\.": r"projector.stages.\1.1.",
    r"^neck\.scale_layers\.(\d)\.sampling_layers\.(\d)\.layers\.(\d)\.": r"projector.stages_sampling.\1.\2.\3.",
    r"\.norm\.(weight|bias)$": r".bn.\1",
}


def shapes_of(preset):
    """The weights of an encoder by the authors' names, what a batch norm counts, and a weight of the detector around it."""
    passed = forward(load_config(preset))
    ours = {
        segment.qualified(weight.name): weight.shape
        for segment in passed.segments
        for weight in segment.recording.parameters
    }
    made = {"class_embed.weight": (91, 256)}
    for name, shape in ours.items():
        theirs = f"backbone.0.{name}"
        for pattern, to in AUTHORS.items():
            name = re.sub(pattern, to, name)  # noqa: PLW2901
            theirs = f"backbone.0.{name}"
        made[theirs] = shape
        if theirs.endswith("bn.weight"):
            made |= {theirs.replace("weight", each): shape for each in ("running_mean", "running_var")}
            made[theirs.replace("weight", "num_batches_tracked")] = ()
    return made


@pytest.mark.parametrize(
    "preset",
    [
        "lw_detr_tiny",
        "lw_detr_xlarge",
        *(
            pytest.param(f"lw_detr_{each}", marks=pytest.mark.exhaustive)
            for each in ("small", "medium", "large")
        ),
    ],
)
def test_a_checkpoint_of_the_authors(preset, tmp_path):
    weights = expanded(shapes_of(preset))
    torch.save({"model": weights, "ema_model": weights, "epoch": 59}, tmp_path / "detector.pth")
    text = imported(str(tmp_path / "detector.pth"))
    assert is_preset(text, preset, tmp_path)
    assert "ema_model" in text  # says which was read


def test_another_depth_is_not_a_published_one(tmp_path):
    kept = {name: shape for name, shape in shapes_of("lw_detr_tiny").items() if "blocks.5." not in name}
    torch.save({"model": expanded(kept)}, tmp_path / "detector.pth")
    with pytest.raises(ImportFailedError, match="5 blocks of width 192") as error:
        imported(str(tmp_path / "detector.pth"))
    assert error.value.message.code == "not-in-shapes"
