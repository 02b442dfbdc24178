"""YAML configs of other projects: own files with the keys of SAM 2's, Microsoft's and Mask2Former's."""

from pathlib import Path

import pytest

from samattn_cli import load_config
from samattn_cli.errors import ConfigError, ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.tape.encoder import forward
from tests.support.importing import is_preset

SAM2 = """\
# @package _global_
model:
  _target_: sam2.modeling.sam2_base.SAM2Base
  image_encoder:
    _target_: sam2.modeling.backbones.image_encoder.ImageEncoder
    scalp: 1
    trunk:
      _target_: sam2.modeling.backbones.hieradet.Hiera
      embed_dim: 96
      num_heads: 1
      stages: [1, 2, 7, 2]
      global_att_blocks: [5, 7, 9]
      window_pos_embed_bkg_spatial_size: [7, 7]
    neck:
      _target_: sam2.modeling.backbones.image_encoder.FpnNeck
      position_encoding: {num_pos_feats: 256, scale: null}
      d_model: 256
      backbone_channel_list: [768, 384, 192, 96]
      fpn_top_down_levels: [2, 3]
      fpn_interp_model: nearest
  image_size: 1024
"""
TRAINING = """\
scratch:
  resolution: 1024
trainer:
  max_epochs: ${times:${scratch.resolution},1}
  model:
    image_encoder:
      scalp: 1
      trunk: {embed_dim: 112, num_heads: 2, drop_path_rate: 0.1}
      neck:
        d_model: 256
        backbone_channel_list: [896, 448, 224, 112]
        fpn_top_down_levels: [2, 3]
        fpn_interp_model: nearest
    image_size: ${scratch.resolution}
"""
SWIN = """\
DATA:
  IMG_SIZE: 384
MODEL:
  TYPE: swin
  DROP_PATH_RATE: 0.5
  SWIN:
    EMBED_DIM: 128
    DEPTHS: [ 2, 2, 18, 2 ]
    NUM_HEADS: [ 4, 8, 16, 32 ]
    WINDOW_SIZE: 12
TRAIN:
  WEIGHT_DECAY: 1e-8
"""
SWINV2 = """\
DATA: {IMG_SIZE: 256}
MODEL:
  TYPE: swinv2
  SWINV2:
    EMBED_DIM: 192
    DEPTHS: [ 2, 2, 18, 2 ]
    NUM_HEADS: [ 6, 12, 24, 48 ]
    WINDOW_SIZE: 16
    PRETRAINED_WINDOW_SIZES: [ 12, 12, 12, 6 ]
"""
MASK2FORMER = """\
_BASE_: ../maskformer2_R50_bs16_50ep.yaml
MODEL:
  BACKBONE: {NAME: D2SwinTransformer}
  SWIN: {EMBED_DIM: 96, DEPTHS: [2, 2, 6, 2], NUM_HEADS: [3, 6, 12, 24], WINDOW_SIZE: 7, APE: False, DROP_PATH_RATE: 0.3}
"""


def read(text: str, folder: Path) -> str:
    (folder / "model.yaml").write_text(text, "utf-8")
    return imported(str(folder / "model.yaml"))


@pytest.mark.parametrize(
    ("text", "preset"),
    [(SAM2, "sam2_hiera_t"), (TRAINING, "sam2_hiera_b_plus"), (SWIN, "swin_b_384"), (SWINV2, "swinv2_l")],
)
def test_configs_of_sam_2_and_swin_are_the_presets(text, preset, tmp_path):
    written = read(text, tmp_path)
    assert is_preset(written, preset, tmp_path)
    assert "model.yaml, of " in written.replace("\n# ", " ")  # a long path wraps


def test_a_swin_of_a_detector_has_a_norm_for_each_map(tmp_path):
    (tmp_path / "a.yaml").write_text(read(MASK2FORMER, tmp_path), "utf-8")
    found = forward(load_config(tmp_path / "a.yaml")).params
    assert found == forward(load_config("swin_t")).params + 2 * (
        96 + 192 + 384
    )  # the last norm is there before


@pytest.mark.parametrize(
    ("text", "old", "new", "code", "at"),
    [
        (SAM2, "stages: [1, 2, 7, 2]", "stages: four", "wrong-entry", "four"),
        (SAM2, "num_heads: 1", "num_head: 1", "unknown-entry", "num_head"),
        (SAM2, "fpn_interp_model: nearest", "fuse_type: sum", "unsupported-model", "neck"),
        (SAM2, "[768, 384, 192, 96]", "[768, 384]", "unsupported-model", "[768"),
        (SAM2, "size: 1024", "size: ${scratch.resolution}", "unknown-reference", "${"),
        (SAM2, "size: 1024", "size: ${model.image_size}", "circular-reference", "${"),
        (
            SAM2,
            "scalp: 1",
            "scalp: [1",
            "invalid-yaml",
            ":\n      _target_: sam2.modeling.backbones.hieradet",
        ),
        (TRAINING, "scalp: 1", "scalp: 0", "unsupported-model", "0\n      trunk"),
        (SWIN, "TYPE: swin", "TYPE: swin_mlp", "unsupported-model", "swin_mlp"),
        (SWIN, "WINDOW_SIZE", "WINDOWSIZE", "unknown-entry", "WINDOWSIZE"),
        (SWIN, "[ 4, 8, 16, 32 ]", "[ 4, 8 ]", "wrong-entry", "[ 4"),
        (MASK2FORMER, "APE: False", "OUT_FEATURES: [res1]", "wrong-entry", "[res1"),
    ],
)
def test_what_is_wrong_in_a_config_is_said_with_its_place(text, old, new, code, at, tmp_path):
    wrong = text.replace(old, new, 1)
    assert wrong != text
    before = wrong[: wrong.index(at)]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    with pytest.raises(ImportFailedError) as error:
        read(wrong, tmp_path)
    assert error.value.codes == (code,)
    assert f"model.yaml:{place}: " in error.value.message


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.yaml", "MODEL: {META_ARCHITECTURE: GeneralizedRCNN}", "unknown-model"),
        ("a.yml", "extends: sam_vit_b", "unknown-model"),
        ("cascade_mask_rcnn_vitdet_b_100ep.py", "raise SystemExit", "python-code"),
        ("missing.yaml", None, "file-not-found"),
        ("missing.py", None, "file-not-found"),
    ],
)
def test_other_files_are_refused_with_what_to_do(name, text, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text:
        Path(name).write_text(text, "utf-8")
    with pytest.raises(ImportFailedError) as error:
        imported(name)
    assert error.value.codes == (code,)
    if code == "python-code" or "RCNN" in str(text):
        assert "samattn trace" in error.value.message


@pytest.mark.parametrize("text", [SAM2, TRAINING, SWIN])
def test_analyze_says_to_import_them(text, tmp_path):
    (tmp_path / "model.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "model.yaml")
    assert error.value.codes == ("not-a-config",)
    assert "samattn import" in str(error.value)
