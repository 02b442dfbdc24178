"""A part of a checkpoint reads as a smaller model: `samattn import` reads all parts of a checkpoint, or names the missing one."""

import json
import re
from pathlib import Path

import pytest
import torch

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError, code_of
from samattn_cli.importing.importer import imported
from tests.support.checkpoints import Shapes, expanded, of_sam, shapes_of, write_safetensors
from tests.support.importing import is_preset

FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
INDEX = "model.safetensors.index.json"


def halves() -> tuple[Shapes, Shapes]:
    """The weights of SAM ViT-B, cut between block 5 and block 6; the neck is in the second."""
    first, second = Shapes(), Shapes()
    for name, shape in shapes_of("sam_vit_b").items():
        late = re.match(r"image_encoder\.(neck|blocks\.([6-9]|1\d)\.)", name)
        (second if late else first)[name] = shape
    return first, second


def write_parts(folder: Path) -> None:
    for name, shapes in zip((FIRST, SECOND), halves(), strict=True):
        write_safetensors(folder / name, shapes)


def write_index(folder: Path, **others: str) -> None:
    files = {name: file for file, half in zip((FIRST, SECOND), halves(), strict=True) for name in half}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files | others}), "utf-8")


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("asked", [FIRST, SECOND])
def test_a_part_is_read_with_its_siblings(asked, with_index, tmp_path):
    write_parts(tmp_path)
    if with_index:
        write_index(tmp_path)
    warned = list[str]()
    text = imported(str(tmp_path / asked), warned.append)
    assert is_preset(text, "sam_vit_b", tmp_path)
    assert not warned
    assert FIRST in text
    assert SECOND in text


def test_an_index_or_its_folder_is_read(tmp_path):
    write_parts(tmp_path)
    write_index(tmp_path)
    for source in (tmp_path, tmp_path / INDEX):
        assert is_preset(imported(str(source)), "sam_vit_b", tmp_path)


def test_parts_without_numbers_in_their_names_are_found_by_the_index(tmp_path):
    files = ("a.safetensors", "b.safetensors")
    for name, half in zip(files, halves(), strict=True):
        write_safetensors(tmp_path / name, half)
    weight_map = {name: file for file, half in zip(files, halves(), strict=True) for name in half}
    (tmp_path / "any.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    assert is_preset(imported(str(tmp_path / "b.safetensors")), "sam_vit_b", tmp_path)


def test_parts_of_pytorch(tmp_path):
    for number, half in enumerate(halves(), 1):
        torch.save(expanded(half), tmp_path / f"pytorch_model-{number}-of-2.bin")
    assert is_preset(imported(str(tmp_path / "pytorch_model-2-of-2.bin")), "sam_vit_b", tmp_path)


@pytest.mark.parametrize("with_index", [False, True])
def test_a_part_without_the_others_is_refused(with_index, tmp_path):
    write_parts(tmp_path)
    if with_index:
        write_index(tmp_path)
    (tmp_path / SECOND).unlink()
    with pytest.raises(ImportFailedError) as caught:
        imported(str(tmp_path / FIRST))
    assert caught.value.codes == ("missing-part",)
    assert str(caught.value).startswith(f"{tmp_path / FIRST}: is part 1 of a checkpoint in 2 parts")
    assert f"part 2 ({SECOND})" in str(caught.value)


BAD_INDEXES = {
    ("not-a-part", "'../secret.safetensors'"): {"x": "../secret.safetensors"},
    ("not-a-part", "'/etc/passwd'"): {"x": "/etc/passwd"},
    ("not-a-part", "'nnnnn"): {"x": "n" * 300 + ".bin"},
    ("not-a-part", "'a\\x00.bin'"): {"x": "a\x00.bin"},
    ("not-a-part", "'run.py'"): {"x": "run.py"},
    ("missing-weight", f"'image_encoder.blocks.99.x' in {FIRST}"): {"image_encoder.blocks.99.x": FIRST},
    ("missing-part", "in 3 parts, but part 3 (z.safetensors)"): {"x": "z.safetensors"},
}
"""The code, and what is named."""


@pytest.mark.parametrize(("code", "named"), BAD_INDEXES)
def test_an_index_that_does_not_fit_its_parts_is_refused(code, named, tmp_path):
    write_parts(tmp_path)
    write_index(tmp_path, **BAD_INDEXES[code, named])
    with pytest.raises(ImportFailedError) as caught:
        imported(str(tmp_path / INDEX))
    assert caught.value.codes == (code,)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 10**5]
)
def test_what_is_not_an_index_is_refused(text, tmp_path):
    (tmp_path / INDEX).write_text(text, "utf-8")
    with pytest.raises(ImportFailedError, match=INDEX):
        imported(str(tmp_path / INDEX))
    if text != "{}":  # next to a checkpoint it says nothing of that
        write_safetensors(tmp_path / "model.safetensors", shapes_of("vit_b"))
        assert is_preset(imported(str(tmp_path / "model.safetensors")), "vit_b", tmp_path)


@pytest.mark.parametrize("source", ["n" * 300, "a\x00b"])
def test_a_name_that_no_file_can_have_is_refused(source):
    with pytest.raises(ImportFailedError):
        imported(source)


def test_a_weight_in_two_parts_is_refused(tmp_path):
    write_parts(tmp_path)
    write_safetensors(tmp_path / SECOND, shapes_of("sam_vit_b"))
    with pytest.raises(ImportFailedError, match=r"\[duplicate-weight\]"):
        imported(str(tmp_path / FIRST))


CUT = {
    ("sam_vit_b", r"blocks\.11\."): (
        "sam_vit_b, has depth 12 instead of 11; global_attn_indexes [2, 5, 8, 11] instead of [2, 5, 8]"
    ),
    ("sam_vit_b", r"blocks\.([6-9]|1\d)\.|neck"): (
        "sam_vit_b, has depth 12 instead of 6; global_attn_indexes [2, 5, 8, 11] instead of [2, 5]; neck sam instead of none"
    ),
    ("sam_vit_h", r"blocks\.3[01]\.|neck"): (
        "sam_vit_h, has depth 32 instead of 30; global_attn_indexes [7, 15, 23, 31] instead of [7, 15, 23]; neck sam instead of none"
    ),
    ("sam_vit_b", "neck"): "sam_vit_b, has neck sam instead of none",
    ("med_sam_adapter_b", r"blocks\.11\."): (
        "med_sam_adapter_b, has depth 12 instead of 11; global_attn_indexes [2, 5, 8, 11] instead of [2, 5, 8]"
    ),
    ("vit_b", r"blocks\.11\."): "vit_b, has depth 12 instead of 11",
    ("vit_b", r"^norm\."): "vit_b, has norm true instead of false",
    ("mae_b_pretrain", r"decoder_blocks\.7\."): "mae_b_pretrain, has depth [12, 8] instead of [12, 7]",
    ("swin_t", r"^layers\.3\.|layers\.2\.downsample|^norm\."): (
        "swin_t, has embed_dim [96, 192, 384, 768] instead of [96, 192, 384]; depth [2, 2, 6, 2] instead of [2, 2, 6]; norm true "
        "instead of false"
    ),
    ("swinv2_t", r"q_bias|v_bias"): "swinv2_t, has qkv_bias true instead of false",
    ("sam2_hiera_t", "neck"): "sam2_hiera_t, has neck sam2_fpn instead of none",
}  # fmt: skip


@pytest.mark.parametrize(("preset", "lost"), CUT)
def test_a_difference_from_published_models_gives_a_warning(preset, lost, tmp_path):
    shapes = {name: shape for name, shape in shapes_of(preset).items() if not re.search(lost, name)}
    warned = list[str]()
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)), warned.append)
    assert list(map(code_of, warned)) == ["not-published"]
    assert f"The nearest, {CUT[preset, lost]}." in warned[0]
    assert warned[0] in " ".join(line.removeprefix("# ") for line in text.splitlines())


def test_other_global_layers_than_published_give_a_warning(tmp_path):
    config = load_config("sam_vit_b", ["global_attn_indexes=[5, 11]"])
    warned = list[str]()
    imported(str(write_safetensors(tmp_path / "model.safetensors", of_sam(config))), warned.append)
    assert "has global_attn_indexes [2, 5, 8, 11] instead of [5, 11]" in warned[0]


def test_a_pyramid_without_weights_gives_a_warning(tmp_path):
    shapes = {name: shape for name, shape in shapes_of("vitdet_l_fpn").items() if "simfp" not in name}
    warned = list[str]()
    imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)), warned.append)
    assert list(map(code_of, warned)) == ["missing-pyramid"]


def test_the_norm_of_a_mean_is_not_a_missing_norm(tmp_path):
    """MAE's fine-tuned models norm the mean of the tokens instead of the encoder's output."""
    shapes = {name: shape for name, shape in shapes_of("vit_b").items() if not name.startswith("norm.")}
    shapes |= {"fc_norm.weight": (768,), "fc_norm.bias": (768,)}
    warned = list[str]()
    imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)), warned.append)
    assert not warned


MISSING = {
    ("sam_vit_b", r"blocks\.5\."): "'image_encoder.blocks.11' but none of 'image_encoder.blocks.5'",
    ("sam_vit_b", r"blocks\.[0-5]\."): "'image_encoder.blocks.11' but none of 'image_encoder.blocks.0'",
    ("swin_t", r"layers\.2\.blocks\.3\."): "'layers.2.blocks.5' but none of 'layers.2.blocks.3'",
    ("swin_t", r"layers\.1\."): "'layers.3' but none of 'layers.1'",
    ("sam2_hiera_t", r"blocks\.7\."): "'image_encoder.trunk.blocks.11' but none of 'image_encoder.trunk.blocks.7'",
    ("mae_b_pretrain", r"decoder_blocks\.2\."): "'decoder_blocks.7' but none of 'decoder_blocks.2'",
}  # fmt: skip


@pytest.mark.parametrize(("preset", "lost"), MISSING)
def test_blocks_missing_in_the_middle_are_named(preset, lost, tmp_path):
    shapes = {name: shape for name, shape in shapes_of(preset).items() if not re.search(lost, name)}
    with pytest.raises(ImportFailedError) as caught:
        imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert caught.value.codes == ("missing-block",)
    assert MISSING[preset, lost] in str(caught.value)
