"""Swin as transformers runs it, where that is not as Microsoft's code does: `samattn import` says so."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from importing import as_json
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import analyze, load_config
from samattn_cli.importing.importer import imported


def read(config: transformers.PreTrainedConfig, folder: Path) -> tuple[Any, list[str]]:
    """samattn's totals of the encoder, and what import warns of."""
    warned = list[str]()
    text = imported(str(as_json(config.to_dict(), folder / "config.json")), warned.append)
    (folder / "a.yaml").write_text(text, "utf-8")
    return analyze(load_config(folder / "a.yaml"), verify=False).totals, warned


def theirs(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config, add_pooling_layer=False).eval()


def flops(model: transformers.PreTrainedModel, size: tuple[int, int]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, 3, *size, device="meta"))
    return counted.get_total_flops()


SMALL = {"depths": [2, 2], "num_heads": [2, 4], "embed_dim": 32}
"""Two stages: their grids at 4 px a patch are a quarter and an eighth of the image."""


@pytest.mark.parametrize(("side", "params"), [(192, 27_517_050), (160, 27_515_130), (128, 27_513_594)])
def test_a_swin_that_transformers_cannot_run_is_said(side, params, tmp_path):
    """Grids of 6, 5 and 4 tokens in the last stage are smaller than windows of 7, whose tables have 169 rows a head:
    of 6 they have 121, so 24 heads of 2 blocks are 2 * 24 * 48 = 2,304 parameters fewer."""
    config = transformers.SwinConfig(image_size=side)
    totals, (said,) = read(config, tmp_path)
    assert totals.params == params
    assert said == (
        f"transformers cannot run it at {side}x{side}: the grid of stage 4 is {side // 32}x{side // 32}, smaller than its "
        "window of 7x7. samattn makes the window smaller, as Microsoft's code does, and so has "
        f"{params:,} parameters where transformers has 27,519,354."
    )
    model = theirs(config)
    assert sum(weight.numel() for weight in model.parameters()) == 27_519_354
    with pytest.raises(RuntimeError, match="broadcast"):
        flops(model, (side, side))


@pytest.mark.parametrize("size", [(224, 224), (56, 56), (56, 112), (112, 56), (100, 108), (60, 64)])
def test_a_swin_that_transformers_runs_is_imported_without_a_word(size, tmp_path):
    config = transformers.SwinConfig(image_size=list(size), window_size=7, **SMALL)
    totals, warned = read(config, tmp_path)
    assert not warned
    model = theirs(config)
    assert totals.params == sum(weight.numel() for weight in model.parameters())
    assert totals.flops == flops(model, size)


@pytest.mark.parametrize(
    "size", [(56, 56), (56, 48), (48, 56), (52, 52), (32, 128), (128, 32), (64, 64), (44, 44), (96, 104)]
)
def test_what_swin_v2_costs_in_transformers_is_imported_or_said_to_be_another(size, tmp_path):
    config = transformers.Swinv2Config(image_size=list(size), window_size=7, **SMALL)
    totals, warned = read(config, tmp_path)
    model = theirs(config)
    assert totals.params == sum(weight.numel() for weight in model.parameters())
    assert warned or totals.flops == flops(model, size)
    if size in {(56, 48), (52, 52)}:
        assert totals.flops != flops(model, size)


def test_other_windows_of_swin_v2_are_named(tmp_path):
    """A grid of 14x12 is 7x6 in the second stage: 7 rows are no fewer than the window, so transformers pads 6 to 7."""
    config = transformers.Swinv2Config(image_size=[56, 48], window_size=7, **SMALL)
    (said,) = read(config, tmp_path)[1]
    assert said == (
        "At 56x48 transformers runs other windows in the blocks 2-3: window 7x7 in the first of them, where Microsoft's "
        "code and samattn have window 6x6. FLOPs and memory are those of Microsoft's code."
    )


@pytest.mark.parametrize("window", [0, [7, 5]])
def test_windows_that_are_no_squares_are_not_those_of_transformers(window, tmp_path):
    warned = list[str]()
    path = as_json({"model_type": "swin", "window_size": window}, tmp_path / "config.json")
    imported(str(path), warned.append)
    assert [said.partition(":")[0] for said in warned] == [
        f"transformers cannot run windows of {'7x5' if window else '0x0'}"
    ]
