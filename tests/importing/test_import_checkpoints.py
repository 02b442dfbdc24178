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
from tests.support.checkpoints import (
    PUBLISHED,
    expanded,
    of_mae,
    of_sam,
    of_vit,
    shapes_of,
    write_safetensors,
)
from tests.support.importing import is_preset
from tests.support.sampling import examples


@pytest.mark.parametrize("preset", [preset for presets in PUBLISHED.values() for preset in presets])
def test_a_published_checkpoint_is_its_preset(preset, tmp_path):
    path, warned = write_safetensors(tmp_path / "model.safetensors", shapes_of(preset)), list[str]()
    assert is_preset(imported(str(path), warned.append), preset, tmp_path)
    assert bool(warned) == (
        preset in {"sam_vit_h_all_global", "vitdet_b"}
    )  # the first is not published, the second has no pyramid


def test_names_of_segment_anything_by_its_own_code(tmp_path):
    theirs = official_encoder(load_config("sam_vit_b"), "meta").state_dict()
    ours = of_sam(load_config("sam_vit_b"))
    assert {f"image_encoder.{name}": tuple(weight.shape) for name, weight in theirs.items()}.items() <= (
        ours.items()
    )
    torch.save({"model": "sam", "state_dict": expanded(ours)}, tmp_path / "medsam.pth")
    assert is_preset(imported(str(tmp_path / "medsam.pth")), "sam_vit_b", tmp_path)


def test_a_decoder_as_wide_as_the_encoder_is_known_by_its_name(tmp_path):
    config = load_config("mae_b_pretrain", ["stages.0.embed_dim=512", "stages.0.num_heads=16"])
    path = write_safetensors(tmp_path / "mae.safetensors", of_mae(config))
    with pytest.raises(ImportFailedError, match=r"width 512, only 768.*\[not-in-shapes\]"):
        imported(str(path))  # the encoder's heads; the decoder is that of the published models


def test_what_weights_do_not_show_has_a_note(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_safetensors(Path("two\nlines.safetensors"), shapes_of("sam2_hiera_t"))
    assert imported("two\nlines.safetensors").splitlines()[1:3] == [
        "# Imported from the names and shapes of the weights in two?lines.safetensors.",
        "# Weights do not show image size, heads, windows and global blocks: these are those of the published model.",
    ]


def test_weights_of_a_model_that_was_trained_in_parallel(tmp_path):
    shapes = {f"module.{name}": shape for name, shape in shapes_of("vit_b").items()}
    path = write_safetensors(tmp_path / "model.safetensors", shapes)
    assert is_preset(imported(str(path)), "vit_b", tmp_path)


@pytest.mark.parametrize("preset", ["swin_b_384", "swinv2_t"])
def test_the_image_size_of_a_swin_without_masks_is_the_published_one(preset, tmp_path):
    """timm's newer files and those of detectors have no masks of shifted windows, which show it."""
    shapes = {name: shape for name, shape in shapes_of(preset).items() if "attn_mask" not in name}
    text = imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert is_preset(text, preset, tmp_path)
    assert "Weights do not show the image size" in text


CHANGED: dict[tuple[str, str], tuple[str, dict[str, tuple[int, ...] | None]]] = {
    ("missing-weight", "'blocks.1.attn.qkv.weight'"): ("swin_t", {"layers.0.blocks.1.attn.qkv.weight": None}),
    ("missing-weight", "'blocks.7.norm2.bias'"): ("vit_b", {"blocks.7.norm2.bias": None}),
    ("wrong-weight-shape", "'blocks.7.mlp.fc1.weight' has shape [3000, 768], .* [3072, 768]"): (
        "vit_b", {"blocks.7.mlp.fc1.weight": (3000, 768)},
    ),
    ("unknown-weight", "'blocks.0.attn.gate.weight'"): ("vit_b", {"blocks.0.attn.gate.weight": (768,)}),
    ("unsupported-model", "198 position embeddings"): ("vit_b", {"pos_embed": (1, 198, 768)}),
    ("unsupported-model", "'patch_embed.proj.weight' is a kernel of 16x8"): (
        "vit_b", {"patch_embed.proj.weight": (768, 3, 16, 8)},
    ),
    ("wrong-weight-shape", "'patch_embed.proj.weight' has shape [768] instead of 4"): (
        "vit_b", {"patch_embed.proj.weight": (768,)},
    ),
    ("not-in-shapes", "width 384, only 768, 1024, 1280"): (
        "vit_b", of_vit(load_config("vit_b", ["embed_dim=384", "num_heads=6"])),
    ),
    ("unsupported-model", "[(7, 7), (14, 14)]"): (
        "sam_vit_b",
        {"image_encoder.blocks.0.attn.rel_pos_h": (13, 64), "image_encoder.blocks.0.attn.rel_pos_w": (13, 64)},
    ),
    ("not-in-shapes", "sam_vit_b"): ("sam_vit_b", {"image_encoder.pos_embed": None}),
    ("not-in-shapes", "1 of width 96, 2 of width 192, 7 of width 384, 1 of width 768"): (
        "sam2_hiera_t", {"image_encoder.trunk.blocks.11.attn.proj.weight": None},
    ),
}  # fmt: skip
"""The code, and what is named."""


@pytest.mark.parametrize(("code", "named"), CHANGED)
def test_the_first_weight_that_differs_is_named(code, named, tmp_path):
    preset, changes = CHANGED[code, named]
    shapes = {name: shape for name, shape in (shapes_of(preset) | changes).items() if shape is not None}
    with pytest.raises(ImportFailedError) as caught:
        imported(str(write_safetensors(tmp_path / "model.safetensors", shapes)))
    assert caught.value.codes == (code,)
    assert all(part in str(caught.value) for part in named.split(".*"))


BAD_FILES: dict[tuple[str, Any], tuple[str, str]] = {
    ("a.pth", bad_files.hostile): ("unsafe-checkpoint", "posix.system"),
    ("b.pth", bad_files.hostile_old): ("unsafe-checkpoint", "posix.system"),
    ("c.bin", bad_files.hostile_pickle): ("unsafe-checkpoint", "posix.system"),
    ("hostile.pkl", bad_files.hostile_pickle): ("unsafe-checkpoint", "posix.system"),
    ("hostile", bad_files.hostile_pickle): ("unsafe-checkpoint", "posix.system"),
    ("cut.pkl", b"\x80\x04}q\x00"): ("damaged-checkpoint", ""),
    ("d.pt", bad_files.a_model): ("unsafe-checkpoint", "torch.nn.modules.linear.Linear"),
    ("e.pth", bad_files.of_itself): ("no-weights", ""),
    ("f.pth", bad_files.cut): ("damaged-checkpoint", "failed finding central directory"),
    ("g.pth", bad_files.cut_old): ("damaged-checkpoint", ""),
    ("h.pth", bad_files.a_list): ("no-weights", "list"),
    ("i.pth", bad_files.of_another): ("unknown-model", "'conv1.weight'"),
    ("j.pth", b""): ("damaged-checkpoint", ""),
    ("k.pth", b"PK\x03\x04 and no more"): ("damaged-checkpoint", ""),
    ("l.safetensors", b""): ("damaged-checkpoint", ""),
    ("m.safetensors", b"\x00" * 7 + b"\xff"): ("damaged-checkpoint", "18,374,686,479,671,623,680 bytes"),
    ("n.safetensors", bad_files.cut_safetensors): ("damaged-checkpoint", "last 4 bytes"),
    ("o.safetensors", bad_files.lying_safetensors): ("damaged-checkpoint", "header"),
    ("p.safetensors", bad_files.deep_safetensors): ("damaged-checkpoint", "header"),
    ("q.json", b""): ("not-json", ""),
    ("r.json", b"[1]"): ("not-a-description", "list"),
    ("null.json", b"null"): ("not-a-description", "holds null"),
    ("s.json", b'{"a": "\xe9"}'): ("not-json", "'utf-8' codec"),
    ("t.json", b"[" * 10**5): ("not-json", "maximum recursion depth"),
    ("u.txt", b"x"): ("unknown-extension", ".json"),
    ("v.pkl", b"x"): ("damaged-checkpoint", ""),
}
"""The code, and what is named."""


@pytest.mark.parametrize(("name", "content"), BAD_FILES, ids=[name for name, _ in BAD_FILES])
def test_bad_files_are_refused_and_nothing_in_them_is_run(name, content, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(ImportFailedError) as caught:  # warnings are errors in these tests
        imported(str(path))
    code, named = BAD_FILES[name, content]
    assert caught.value.codes == (code,)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).removeprefix(str(path))) < 200
    assert not (tmp_path / "marker").exists()


def test_a_folder_with_nothing_to_import_and_a_missing_file(tmp_path):
    with pytest.raises(ImportFailedError, match=r"no config\.json and no checkpoint.*\[nothing-to-import\]"):
        imported(str(tmp_path))
    with pytest.raises(ImportFailedError, match=r"\[file-not-found\]"):
        imported(str(tmp_path / "config.json"))


FUZZED = ("vit_b", "mae_b_pretrain", "vitdet_b", "swin_t", "swinv2_t", "sam2_hiera_t", "sam_vit_b")
ALL_SHAPES = {preset: shapes_of(preset) for preset in FUZZED}
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 96, 169, 768]), max_size=4).map(tuple)


@settings(max_examples=examples(60), deadline=None, derandomize=True)
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
