"""The forms of files that people have, each written by the library that writes it, of a small SAM with random weights."""

import pickle
import re
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from yacs.config import CfgNode

from samattn_cli import analyze, load_config
from samattn_cli.errors import ImportFailedError, code_of
from samattn_cli.files.pickled import read_pickle
from samattn_cli.importing.importer import imported
from tests.public.segment_anything_encoder import official_encoder
from tests.support.checkpoints import expanded, of_sam, shapes_of
from tests.support.importing import as_json, is_preset
from tests.support.sampling import sampled

SMALL = ("embed_dim=32", "depth=2", "num_heads=2", "image_size=64", "window_size=3", "global_attn_indexes=[1]",
         "out_chans=8")  # fmt: skip
State = dict[str, torch.Tensor]


class Sam(nn.Module):
    """segment-anything's encoder within a model, as its checkpoints have it."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = official_encoder(load_config("sam_vit_b", SMALL), "cpu")
        self.mask_decoder = nn.Linear(2, 2)


SAM = Sam()
STATE: State = SAM.state_dict()
ENCODER: State = SAM.image_encoder.state_dict()
PARAMS = sum(weight.numel() for weight in SAM.image_encoder.parameters())


def params_of(source: Path, folder: Path, warned: list[str] | None = None) -> int:
    text = imported(str(source), [].append if warned is None else warned.append)
    (folder / "imported.yaml").write_text(text, "utf-8")
    return analyze(load_config(folder / "imported.yaml"), verify=False).totals.params


def under(prefix: str, state: State = STATE) -> State:
    return {f"{prefix}{name}": weight for name, weight in state.items()}


def compiled() -> State:
    return torch.compile(Sam()).state_dict()


def blocks_wrapped() -> State:
    return {
        name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): each
        for name, each in STATE.items()
    }


ENTRIES: dict[str, Callable[[], dict[str, Any]]] = {
    **{key: lambda key=key: {"epoch": 3, key: STATE} for key in (
        "model_state_dict", "state_dict", "model_ema", "ema", "ema_state_dict", "net", "network", "params", "weights",
        "sam_model_state_dict",
    )},
    **{f"lightning, {prefix}": lambda prefix=prefix: {"state_dict": under(prefix) | {"loss.weight": torch.ones(3)}} for prefix in (
        "model.", "sam.", "backbone.", "teacher.backbone.", "net.module.",
    )},
    "the encoder alone": lambda: {"state_dict": under("model.", ENCODER)},
    "DataParallel": lambda: nn.DataParallel(Sam()).state_dict(),
    "torch.compile": compiled,  # imports torch._dynamo: each week
    "DataParallel over torch.compile": lambda: {"model": under("module._orig_mod.")},
    "activation checkpointing": blocks_wrapped,
    "a numpy scalar": lambda: {"model": STATE, "best": np.float64(0.5), "curve": np.zeros(3), "step": np.int64(2)},
    "settings": lambda: {"model": STATE, "args": Namespace(lr=1e-3, out=Path("runs"))},
    "settings of Swin": lambda: {"model": STATE, "config": CfgNode({"MODEL": CfgNode({"DEPTHS": [2, 2]})}), "epoch": 299},
    "counts": lambda: {"model": STATE, "log": defaultdict(list, {"loss": [1.0]}), "seen": Counter("aab")},
    "an optimizer": lambda: {"model_state_dict": STATE, "optimizer_state_dict": torch.optim.AdamW(SAM.parameters()).state_dict()},
}  # fmt: skip


@pytest.mark.parametrize("form", sampled(list(ENTRIES), 8))
def test_weights_under_any_entry_and_any_prefix(form, tmp_path):
    torch.save(ENTRIES[form](), tmp_path / "a.pth")
    assert params_of(tmp_path / "a.pth", tmp_path) == PARAMS


def saved(path: Path) -> None:
    torch.save(STATE, path)


def saved_before_1_6(path: Path) -> None:
    torch.save({"model": STATE}, path, _use_new_zipfile_serialization=False)


def safe(path: Path) -> None:
    save_file(STATE, path)


def of_detectron2(path: Path) -> None:
    """Its model zoo has plain pickles of arrays."""
    model = {name: weight.numpy() for name, weight in STATE.items()}
    path.write_bytes(pickle.dumps({"model": model, "__author__": "Detectron2", "matching_heuristics": True}))


def pickled_tensors(path: Path) -> None:
    path.write_bytes(pickle.dumps(OrderedDict(SAM.state_dict())))


FILES = [
    ("sam.pth.tar", saved), ("sam.pkl", saved), ("sam.pkl", of_detectron2), ("sam.pkl", pickled_tensors), ("sam", saved),
    ("sam", saved_before_1_6), ("sam", safe), ("sam", of_detectron2), ("sam.model", safe), ("epoch=3", saved),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write"), sampled(FILES, 4))
def test_what_a_file_is_shows_in_its_content(name, write, tmp_path):
    write(tmp_path / name)
    assert params_of(tmp_path / name, tmp_path) == PARAMS


@pytest.mark.parametrize("other", sampled(["model_ema", "teacher"], 2))
def test_the_choice_between_several_encoders_is_said(other, tmp_path):
    warned = list[str]()
    torch.save({other: STATE, "model": STATE}, tmp_path / "a.pth")
    assert params_of(tmp_path / "a.pth", tmp_path, warned) == PARAMS
    (choice,) = (each for each in warned if code_of(each) == "several-encoders")
    assert choice == f"The checkpoint has 2 encoders: under 'model', which this is, and under {other!r}."


def test_a_vitdet_under_an_entry_with_the_name_of_its_place_in_a_detector(tmp_path):
    """detectron2's detectors have the encoder under backbone.net, and a feature pyramid next to it."""
    shapes = {
        name.removeprefix("backbone.net."): shape
        for name, shape in shapes_of("vitdet_b").items()
        if "net." in name
    }
    torch.save({"net": expanded(shapes)}, tmp_path / "vitdet.pth")
    warned = list[str]()
    assert is_preset(imported(str(tmp_path / "vitdet.pth"), warned.append), "vitdet_b", tmp_path)
    assert not warned


def test_a_folder_with_one_checkpoint_and_with_two(tmp_path):
    save_file(STATE, tmp_path / "medsam.safetensors")
    (tmp_path / "README.md").write_text("MedSAM", "utf-8")
    assert params_of(tmp_path, tmp_path) == PARAMS
    torch.save(STATE, tmp_path / "last.ckpt")
    with pytest.raises(ImportFailedError, match=r"'last.ckpt', 'medsam.safetensors' \[several-checkpoints\]"):
        imported(str(tmp_path))


def small_sam() -> transformers.SamModel:
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "window_size": 3,
            "global_attn_indexes": [1], "output_channels": 8, "mlp_dim": 128,
        },
        prompt_encoder_config={"hidden_size": 8, "image_size": 64},
        mask_decoder_config={"hidden_size": 8, "iou_head_hidden_dim": 8, "mlp_dim": 8, "num_attention_heads": 2},
    )  # fmt: skip
    return transformers.SamModel(config)


@pytest.mark.parametrize("asked", ["", "model.safetensors.index.json"])
def test_parts_that_transformers_saves_are_read_without_their_config(asked, tmp_path):
    model = small_sam()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    (tmp_path / "config.json").unlink()
    assert params_of(tmp_path / asked, tmp_path) == sum(w.numel() for w in model.vision_encoder.parameters())


def test_parts_of_pytorch_by_their_index(tmp_path):
    names = sorted(STATE)
    halves = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, half in halves.items():
        torch.save({name: STATE[name] for name in half}, tmp_path / file)
    weight_map = {name: file for file, half in halves.items() for name in half}
    as_json({"weight_map": weight_map}, tmp_path / "pytorch_model.bin.index.json")
    assert params_of(tmp_path, tmp_path) == PARAMS


def test_a_fine_tuned_sam_of_transformers_that_torch_saved(tmp_path):
    model = small_sam()
    torch.save(model.state_dict(), tmp_path / "checkpoint.pth")
    assert params_of(tmp_path / "checkpoint.pth", tmp_path) == sum(
        weight.numel() for weight in model.vision_encoder.parameters()
    )


def test_sam_hq_has_the_neck_that_its_decoder_reads(tmp_path):
    shapes = of_sam(load_config("sam_vit_b")) | {"mask_decoder.hf_token.weight": (1, 256)}
    torch.save(expanded(shapes), tmp_path / "sam_hq_vit_b.pth")
    assert params_of(tmp_path / "sam_hq_vit_b.pth", tmp_path) == 89_670_912
    assert "neck: sam_hq\n" in (tmp_path / "imported.yaml").read_text("utf-8")


def of_openmmlab(name: str) -> str:
    """A name of Microsoft's Swin in mmdetection and mmpretrain, as their swin_transformer.py writes it."""
    for ours, theirs in (
        ("layers.", "stages."), ("attn.", "attn.w_msa."), ("mlp.fc1.", "ffn.layers.0.0."), ("mlp.fc2.", "ffn.layers.1."),
        ("patch_embed.proj.", "patch_embed.projection."),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    return f"backbone.{name}"


NORMS = {f"norm{stage}.{name}": (96 << stage,) for stage in range(4) for name in ("weight", "bias")}


@pytest.mark.parametrize("detector", sampled([True, False], 2))
def test_a_swin_of_openmmlab(detector, tmp_path):
    """A detector has a norm for each output; a classifier has that of the last stage, with its number."""
    shapes = {
        name: shape for name, shape in shapes_of("swin_t").items() if not re.match("norm|head|.*mask", name)
    }
    shapes |= {name: shape for name, shape in NORMS.items() if detector or name.startswith("norm3")}
    state = {of_openmmlab(name): weight for name, weight in expanded(shapes).items()}
    head = {
        "roi_head.fc.weight": torch.ones(2, 2),
        "neck.lateral_convs.0.conv.weight": torch.ones(2, 2, 1, 1),
    }
    torch.save({"meta": {"epoch": 36}, "state_dict": state | head}, tmp_path / "swin.pth")
    assert params_of(tmp_path / "swin.pth", tmp_path) == (27_520_698 if detector else 27_519_354)


def test_a_vit_of_mmpretrain(tmp_path):
    names = {".norm1.": ".ln1.", ".norm2.": ".ln2.", "mlp.fc1.": "ffn.layers.0.0.", "mlp.fc2.": "ffn.layers.1.",
             "blocks.": "layers.", "patch_embed.proj.": "patch_embed.projection."}  # fmt: skip
    state = {}
    for name, weight in expanded(shapes_of("vit_b")).items():
        theirs = "ln1." + name.partition(".")[2] if name.startswith("norm.") else name
        for ours, other in names.items():
            theirs = theirs.replace(ours, other)
        state[f"head.layers.{name}" if name.startswith("head") else f"backbone.{theirs}"] = weight
    torch.save({"state_dict": state}, tmp_path / "vit.pth")
    assert is_preset(imported(str(tmp_path / "vit.pth")), "vit_b", tmp_path)


class Greeting:
    """Harmless where it is unpickled, but not known to be data."""

    said: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Greeting, "said", ("hello",))


@pytest.mark.parametrize("beside", [{}, {"a.weight": np.zeros(3)}])
def test_a_pickle_runs_nothing_that_it_names(beside, tmp_path):
    """samattn's own reader: it refuses names that are not known to be data, and does nothing for those that are."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": {**beside, "x": Greeting()}}))
    with pytest.raises(ImportFailedError, match=r"builtins\.setattr.*\[unsafe-checkpoint\]"):
        imported(str(tmp_path / "a.pkl"))
    assert not Greeting.said


class Reached:
    """Names `getattr`, which is read, but not run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, ("text", "upper")


def test_a_name_that_is_known_to_be_harmless_is_not_run_either(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Reached(), "y": np.float32(2)}))
    read = read_pickle(tmp_path / "a.pkl")
    assert [type(each).__name__ for each in read.values()] == ["Inert", "Inert"]
