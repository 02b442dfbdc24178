"""`samattn import --image-size`: a checkpoint that is used at another image size than it was made for."""

from __future__ import annotations

import pytest
import transformers

from samattn_cli import load_config
from samattn_cli.cli.ranges import one_size
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.errors import ImportFailedError, UsageError
from samattn_cli.importing.another_size import at_another_size
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.support.importing import as_json
from tests.support.running import samattn


def at(size, entries, folder) -> tuple[EncoderConfig, str, list[str]]:
    """The config of what transformers saves, its text, and the codes of warnings."""
    warnings: list[str] = []
    path = as_json(entries.to_dict(), folder / "config.json")
    text = imported(str(path), lambda sentence: warnings.append(sentence.code), image_size=size)
    (folder / "imported.yaml").write_text(text, "utf-8")
    return load_config(folder / "imported.yaml"), text, warnings


def test_sam_keeps_the_positions_of_its_checkpoint_as_ultralytics_does(tmp_path):
    """89,670,912 parameters at 640 px as at 1024, where a model that is made for 640 has 87,729,408. transformers cannot."""
    config, text, warnings = at((640, 640), transformers.SamConfig(), tmp_path)
    assert forward(config).params == 89_670_912
    assert (config.pretrain_image_size, config.stages[0].rel_pos_grid) == ((1024, 1024), (64, 64))
    assert (config.implementation, warnings) == ("reference", ["implementation-cannot-run"])
    keys = [line.partition(":")[0] for line in text.splitlines() if not line.startswith("#")]
    assert keys[keys.index("image_size") + 1] == "pretrain_image_size"
    assert keys[keys.index("rel_pos") + 1] == "rel_pos_grid"


def test_vit_runs_at_another_size_in_transformers(tmp_path):
    config, text, warnings = at((384, 320), transformers.ViTConfig(), tmp_path)
    assert (config.image_size, config.pretrain_image_size) == ((384, 320), (224, 224))
    assert (config.implementation, warnings) == ("transformers", [])
    assert forward(config).params == forward(load_config("vit_b")).params
    assert "# Used at 384x320: its positions, made for 224x224, are kept" in text


def test_what_has_its_size_of_pretraining_keeps_it(tmp_path):
    """ViTDet is made for 1024 px, and its positions for 224; SAM 3's for 336."""
    vitdet = transformers.VitDetConfig(image_size=1024, use_relative_position_embeddings=True, window_size=14)
    config, _, warnings = at((512, 512), vitdet, tmp_path)
    assert (config.pretrain_image_size, config.stages[0].rel_pos_grid) == ((224, 224), (64, 64))
    assert warnings == []
    config, _, _ = at((672, 672), transformers.Sam3Config(), tmp_path)
    assert (config.image_size, config.pretrain_image_size) == ((672, 672), (336, 336))


def test_windows_have_no_positions_to_keep(tmp_path):
    config, text, warnings = at((448, 448), transformers.SwinConfig(), tmp_path)
    assert (config.image_size, config.pretrain_image_size, warnings) == ((448, 448), None, [])
    assert "# Used at 448x448: its source says 224x224." in text


def test_the_size_that_it_was_made_for_changes_nothing(tmp_path):
    entries = as_json(transformers.ViTConfig().to_dict(), tmp_path / "config.json")
    assert imported(str(entries), image_size=(224, 224)) == imported(str(entries))


def test_timm_resizes_positions_when_it_loads_them():
    keys = {
        "image_size": 224,
        "patch_size": 16,
        "block": "plain",
        "pos_embed": "class_token",
        "embed_dim": 64,
    }
    keys |= {"depth": 1, "num_heads": 2, "implementation": "timm", "norm": True}
    notes: list[str] = []
    found = at_another_size(keys, (384, 384), "timm", notes, [])
    assert found == keys | {"image_size": 384}
    assert "timm resizes positions" in notes[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("64O", "not-a-size"),
        ("640x", "not-a-size"),
        ("1,2", "not-a-size"),
        ("0", "out-of-range"),
        ("", "not-a-size"),
    ],
)
def test_an_image_size_that_is_not_a_size(text, code):
    with pytest.raises(UsageError) as refused:
        one_size("--image-size", text)
    assert refused.value.message.code == code


def test_an_image_size_that_the_encoder_does_not_have(tmp_path):
    entries = as_json(transformers.ViTConfig().to_dict(), tmp_path / "config.json")
    with pytest.raises(ImportFailedError) as refused:
        imported(str(entries), image_size=(8, 8))
    assert refused.value.message.code == "image-smaller-than-patch"
    ended = samattn("import", str(entries), "--image-size", "8", "-o", str(tmp_path / "a.yaml"))
    assert (ended.returncode, ended.stdout, (tmp_path / "a.yaml").exists()) == (2, "", False)
