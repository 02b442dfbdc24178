"""HAT: checkpoints of the authors' code, which have the entry `params_ema`."""

from __future__ import annotations

import pytest
import torch

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from tests.public.hat import shapes
from tests.support.checkpoints import expanded, write_safetensors
from tests.support.importing import is_preset


@pytest.mark.parametrize(
    "preset",
    [
        "hat_s_x3",
        pytest.param("hat_x2", marks=pytest.mark.exhaustive),
        pytest.param("hat_l_x4", marks=pytest.mark.exhaustive),
    ],
)
def test_a_checkpoint_of_the_authors(preset, tmp_path):
    """It has two buffers: the rows of the tables for each pair of pixels."""
    found = dict(shapes(load_config(preset))) | {
        "relative_position_index_SA": (256, 256),
        "relative_position_index_OCA": (256, 576),
    }
    torch.save({"params_ema": expanded(found)}, tmp_path / "hat.pth")
    text = imported(str(tmp_path / "hat.pth"))
    assert is_preset(text, preset, tmp_path)
    assert "--image-size takes that of your tiles" in " ".join(text.replace("#", " ").split())


def test_a_group_that_is_missing_is_named(tmp_path):
    found = {
        name.replace("layers.5.", "layers.95."): shape for name, shape in shapes(load_config("hat_s_x2"))
    }
    with pytest.raises(ImportFailedError) as error:
        imported(str(write_safetensors(tmp_path / "hat.safetensors", found)))
    assert error.value.message.code == "missing-block"
