from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from tests.public.segment_anything_encoder import official_encoder
from tests.support import bad_files
from tests.support.checkpoints import PUBLISHED, expanded, of_mae, of_sam, shapes_of, write_safetensors
from tests.support.importing import is_preset


@pytest.mark.parametrize("preset", [preset for presets in PUBLISHED.values() for preset in presets])
def test_a_published_checkpoint_is_its_preset(preset, tmp_path):
    path, warned = write_safetensors(tmp_path / "model.safetensors", shapes_of(preset)), list[str]()
    assert is_preset(imported(str(path), warned.append), preset, tmp_path)
    assert bool(warned) == (
        preset in {"sam_vit_h_all_global", "vitdet_b"}
    )  # nobody has published it; no pyramid


def test_names_of_segment_anything_by_its_own_code(tmp_path):
    theirs = official_encoder(load_config("sam_vit_b"), "meta").state_dict()
    ours = of_sam(load_config("sam_vit_b"))
    assert {f"image_encoder.{name}": tuple(weight.shape) for name, weight in theirs.items()}.items() <= (
        ours.items()
    )
    torch.save({"model": "sam", "state_dict": expanded(ours)}, tmp_path / "medsam.pth")
    assert is_preset(imported(str(tmp_path / "medsam.pth")), "sam_vit_b", tmp_path)


def test_a_decoder_as_wide_as_the_encoder_is_told_by_its_name(tmp_path):
    config = load_config("mae_b_pretrain", ["stages.0.embed_dim=512", "stages.0.num_heads=16"])
    path = write_safetensors(tmp_path / "mae.safetensors", of_mae(config))
    with pytest.raises(ImportFailedError, match="the number of heads cannot be told from shapes"):
        imported(str(path))  # which is said of the encoder: its decoder is that of the published models


def test_what_weights_do_not_tell_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_safetensors(Path("two\nlines.safetensors"), shapes_of("sam2_hiera_t"))
    assert imported("two\nlines.safetensors").splitlines()[1:5] == [
        "# Imported from the names and shapes of the weights in two?lines.safetensors.",
        "# Weights do not tell image size, heads, windows and global blocks: they are those of the published model.",
        "image_size: 1024",
        "patch_size: 4",
    ]


def test_weights_of_a_model_that_was_trained_in_parallel(tmp_path):
    shapes = {f"module.{name}": shape for name, shape in shapes_of("vit_b").items()}
    path = write_safetensors(tmp_path / "model.safetensors", shapes)
    assert is_preset(imported(str(path)), "vit_b", tmp_path)


CHANGED = {
    "has no weight 'blocks.1.attn.qkv.weight'": (
        "swin_t", {"layers.0.blocks.1.attn.qkv.weight": None},
    ),
    "has no weight 'blocks.7.norm2.bias'": ("vit_b", {"blocks.7.norm2.bias": None}),
    "its weight 'blocks.7.mlp.fc1.weight' is [3000, 768], but in the encoder that the others describe it is [3072, "
    "768]": ("vit_b", {"blocks.7.mlp.fc1.weight": (3000, 768)}),
    "has a weight 'blocks.0.ls1.gamma', which samattn cannot express": ("vit_b", {"blocks.0.ls1.gamma": (768,)}),
    "its 198 position embeddings are not a class token's and those of a square": ("vit_b", {"pos_embed": (1, 198, 768)}),
    "is a kernel of 16x8": ("vit_b", {"patch_embed.proj.weight": (768, 3, 16, 8)}),
    "'patch_embed.proj.weight' is [768], not of 4 dimensions": ("vit_b", {"patch_embed.proj.weight": (768,)}),
    "known of published models of width 768, 1024, 1280, not of 384": ("vit_b", {"blocks.0.norm1.weight": (384,)}),
    "its tables of relative positions are of several windows": (
        "sam_vit_b",
        {"image_encoder.blocks.0.attn.rel_pos_h": (13, 64), "image_encoder.blocks.0.attn.rel_pos_w": (13, 64)},
    ),
    "without position embeddings": ("sam_vit_b", {"image_encoder.pos_embed": None}),
    "its weights do not tell the image size": ("swin_t", {"layers.0.blocks.1.attn_mask": None}),
    "none of which has blocks as this one (1 of 96, 2 of 192, 7 of 384, 1 of 768)": (
        "sam2_hiera_t", {"image_encoder.trunk.blocks.11.attn.proj.weight": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGED)
def test_the_first_weight_that_differs_is_named(message, tmp_path):
    preset, changes = CHANGED[message]
    shapes = {name: shape for name, shape in (shapes_of(preset) | changes).items() if shape is not None}
    with pytest.raises(ImportFailedError) as caught:
        imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert message in str(caught.value)


BAD_FILES: dict[tuple[str, Any], str] = {
    ("a.pth", bad_files.hostile): "holds more than weights (posix.system), which samattn does not run",
    ("b.pth", bad_files.hostile_old): "holds more than weights (posix.system), which samattn does not run",
    ("c.bin", bad_files.hostile_pickle): "is truncated, or no checkpoint of PyTorch",
    ("d.pt", bad_files.a_model): "holds more than weights (torch.nn.modules.linear.Linear)",
    ("e.pth", bad_files.of_itself): "holds no weights by name",
    ("f.pth", bad_files.cut): "failed finding central directory",
    ("g.pth", bad_files.cut_old): "is truncated, or no checkpoint of PyTorch",
    ("h.pth", bad_files.a_list): "holds a list, not weights by name",
    ("i.pth", bad_files.of_another): "its weights ('conv1.weight', ...) are of no model that samattn knows",
    ("j.pth", b""): "is truncated, or no checkpoint of PyTorch",
    ("k.pth", b"PK\x03\x04 and no more"): "is truncated, or no checkpoint of PyTorch",
    ("l.safetensors", b""): "is truncated, or no safetensors file",
    ("m.safetensors", b"\x00" * 7 + b"\xff"): "is truncated, or no safetensors file",
    ("n.safetensors", bad_files.cut_safetensors): "is truncated: the last 4 bytes of its weights are missing",
    ("o.safetensors", bad_files.lying_safetensors): "is damaged, or no safetensors file",
    ("p.safetensors", bad_files.deep_safetensors): "is damaged, or no safetensors file",
    ("q.json", b""): "cannot be read as JSON",
    ("r.json", b"[1]"): "is no description of a model, but a list",
    ("s.json", b'{"a": "\xe9"}'): "cannot be read as JSON: 'utf-8' codec",
    ("t.json", b"[" * 10**5): "cannot be read as JSON: maximum recursion depth",
    ("u.pkl", b"x"): "what it is must be told by its extension, one of .json",
}


@pytest.mark.parametrize(("name", "content"), BAD_FILES, ids=[name for name, _ in BAD_FILES])
def test_bad_files_are_refused_and_nothing_in_them_is_run(name, content, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(ImportFailedError) as caught:  # warnings are errors in these tests
        imported(str(path))
    assert BAD_FILES[name, content] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).removeprefix(str(path))) < 200
    assert not (tmp_path / "marker").exists()


def test_a_folder_without_anything_and_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ImportFailedError, match=r"holds none of config\.json, model\.safetensors"):
        imported(str(tmp_path))
    with pytest.raises(ImportFailedError, match="there is no such file"):
        imported(str(tmp_path / "config.json"))


FUZZED = ("vit_b", "mae_b_pretrain", "vitdet_b", "swin_t", "swinv2_t", "sam2_hiera_t", "sam_vit_b")
ALL_SHAPES = {preset: shapes_of(preset) for preset in FUZZED}
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 96, 169, 768]), max_size=4).map(tuple)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(FUZZED),
    st.randoms(use_true_random=False),
    st.one_of(SHAPES, st.none(), st.just("renamed")),
)
def test_whatever_shape_a_weight_has_it_is_read_or_refused(preset, random, change):
    shapes = dict(ALL_SHAPES[preset])
    name = random.choice(list(shapes))
    was = shapes.pop(name)
    if change is not None:
        shapes[f"{name}.1" if change == "renamed" else name] = was if change == "renamed" else change
    with TemporaryDirectory() as folder, suppress(ImportFailedError):
        imported(str(write_safetensors(Path(folder) / "model.safetensors", shapes)))
