"""`samattn import` warns where transformers' Swin differs from Microsoft's code."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import analyze, load_config
from samattn_cli.errors import code_of
from samattn_cli.importing.importer import imported
from tests.support.importing import as_json


def read(config: transformers.PreTrainedConfig, folder: Path) -> tuple[Any, list[str]]:
    """samattn's totals of the encoder, and the warnings of the import."""
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


@pytest.mark.parametrize(
    ("side", "params"),
    [
        (192, 27_517_050),
        *(
            pytest.param(side, params, marks=pytest.mark.exhaustive)
            for side, params in [(160, 27_515_130), (128, 27_513_594)]
        ),
    ],
)
def test_a_swin_that_transformers_cannot_run_gives_a_warning(side, params, tmp_path):
    """Grids of 6, 5 and 4 tokens in the last stage are smaller than windows of 7, whose tables have 169 rows a head:
    of 6 they have 121, so 24 heads of 2 blocks are 2 * 24 * 48 = 2,304 parameters fewer."""
    config = transformers.SwinConfig(image_size=side)
    totals, (warning,) = read(config, tmp_path)
    assert totals.params == params
    assert code_of(warning) == "transformers-cannot-run"
    assert f"at {side}x{side}: the grid of stages.3 is {side // 32}x{side // 32}" in warning
    assert f"{params:,} parameters; transformers has 27,519,354" in warning
    model = theirs(config)
    assert sum(weight.numel() for weight in model.parameters()) == 27_519_354
    with pytest.raises(RuntimeError, match="broadcast"):
        flops(model, (side, side))


@pytest.mark.parametrize(
    "size",
    [
        (56, 112),
        (100, 108),
        *(
            pytest.param(size, marks=pytest.mark.exhaustive)
            for size in [(224, 224), (56, 56), (112, 56), (60, 64)]
        ),
    ],
)
def test_a_swin_that_transformers_runs_gives_no_warning(size, tmp_path):
    config = transformers.SwinConfig(image_size=list(size), window_size=7, **SMALL)
    totals, warned = read(config, tmp_path)
    assert not warned
    model = theirs(config)
    assert totals.params == sum(weight.numel() for weight in model.parameters())
    assert totals.flops == flops(model, size)


@pytest.mark.parametrize(
    "size",
    [
        (56, 56),
        (56, 48),
        (32, 128),
        *(
            pytest.param(size, marks=pytest.mark.exhaustive)
            for size in [(52, 52), (96, 104), (48, 56), (128, 32), (64, 64), (44, 44)]
        ),
    ],
)
def test_swin_v2_has_the_cost_of_transformers_or_a_warning(size, tmp_path):
    config = transformers.Swinv2Config(image_size=list(size), window_size=7, **SMALL)
    totals, warned = read(config, tmp_path)
    model = theirs(config)
    assert totals.params == sum(weight.numel() for weight in model.parameters())
    assert warned or totals.flops == flops(model, size)
    if size in {(56, 48), (52, 52)}:
        assert totals.flops != flops(model, size)


def test_other_windows_of_swin_v2_are_named(tmp_path):
    """A grid of 14x12 is 7x6 in the second stage: 7 rows are not fewer than the window, so transformers pads 6 to 7."""
    config = transformers.Swinv2Config(image_size=[56, 48], window_size=7, **SMALL)
    (warning,) = read(config, tmp_path)[1]
    assert code_of(warning) == "transformers-differs"
    assert "in blocks 2-3: " in warning
    assert "window 7x7 instead of window 6x6" in warning


@pytest.mark.parametrize("kind", [transformers.SwinConfig, transformers.Swinv2Config])
def test_an_image_that_transformers_pads_gives_a_warning(kind, tmp_path):
    """50 and 55 pixels are 12 and 13 whole patches of 4; transformers has 13 and 14, which are those of 52 and 56."""
    config = kind(image_size=[50, 55], window_size=4, **SMALL)
    totals, warned = read(config, tmp_path)
    assert code_of(warned[0]) == "transformers-differs"
    assert "pads images of 50x55 to 52x56" in warned[0]
    padded, _ = read(kind(image_size=[52, 56], window_size=4, **SMALL), tmp_path)
    assert flops(theirs(config), (50, 55)) == padded.flops != totals.flops
    absolute = kind(image_size=[50, 55], window_size=4, use_absolute_embeddings=True, **SMALL)
    assert code_of(read(absolute, tmp_path)[1][0]) == "transformers-cannot-run"
    with pytest.raises(RuntimeError, match=r"size of tensor|broadcast"):
        flops(theirs(absolute), (50, 55))


def test_swin_v2_with_absolute_embeddings_gives_a_warning(tmp_path):
    """transformers 5.23.0 makes one for a class token, which Swin V2 does not have: 32 parameters more."""
    config = transformers.Swinv2Config(image_size=64, window_size=4, use_absolute_embeddings=True, **SMALL)
    totals, (warning,) = read(config, tmp_path)
    assert code_of(warning) == "transformers-cannot-run"
    assert sum(weight.numel() for weight in theirs(config).parameters()) == totals.params + 32
    with pytest.raises(RuntimeError, match=r"size of tensor|broadcast"):
        flops(theirs(config), (64, 64))


def test_a_swin_v2_without_rows_in_its_last_grid_gives_a_warning(tmp_path):
    """A row of patches is halved to none; samattn pads it to two, which are one again, as Microsoft's code does."""
    config = transformers.Swinv2Config(image_size=[4, 64], window_size=7, **SMALL)
    (warning,) = read(config, tmp_path)[1]
    assert code_of(warning) == "transformers-cannot-run"
    assert "for 4x64: " in warning
    with pytest.raises(RuntimeError):
        theirs(config)


@pytest.mark.parametrize("window", [0, [7, 5]])
def test_windows_that_are_not_squares_give_a_warning(window, tmp_path):
    warned = list[str]()
    path = as_json({"model_type": "swin", "window_size": window}, tmp_path / "config.json")
    imported(str(path), warned.append)
    (warning,) = warned
    assert code_of(warning) == "transformers-cannot-run"
    assert f"windows of {'7x5' if window else '0x0'}" in warning
