"""Windows over three axes: what the contract of families does not show. Its record is tests/public/video_swin.py."""

import json
import re
from importlib.util import find_spec
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import analyze, load_config
from samattn_cli.encoder.placement import Placement
from samattn_cli.errors import ConfigError, SamattnError, code_of
from samattn_cli.families.swin.importing import window_of_video
from samattn_cli.stack.encoder import build
from samattn_cli.stack.windows import cut, join, shift_mask
from samattn_cli.studies.flow import flow_of
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.sweep import sweep
from samattn_cli.studies.symbolic import symbolic
from samattn_cli.tape.encoder import forward
from tests.families.contract import assert_exact
from tests.public.video_swin import VIDEO


def findings(config):
    return {finding.code: finding.message for finding in analyze(config, verify=False).findings}


def test_windows_shrink_and_shift_along_each_axis_by_itself():
    """Grids of 16x56x56, 16x28x28, 16x14x14 and 16x7x7: only the last is as small as the window, in two axes."""
    words = [layer.attends for layer in load_config("swin3d_t").layers]
    assert words[:2] == ["window 8x7x7", "8x7x7 shift 4x3x3"]
    assert words[-2:] == ["window 8x7x7", "8x7x7 shift 4x0x0"]
    small = load_config("swin3d_t", ["image_size=16x112x112"]).layers
    assert small[1].attends == "8x7x7 shift 0x3x3"
    assert (small[-1].attends, small[-1].windows.counts) == ("window 8x4x4", (1, 1, 1))


def test_the_table_is_for_the_whole_window_whatever_the_grid():
    """(2*8-1)(2*7-1)(2*7-1) = 2,535 entries for each head, and 392 x 392 numbers of a mask for each of 2*8*8 windows."""
    for size in ("32x224x224", "16x112x112"):
        passed = forward(load_config("swin3d_t", [f"image_size={size}"]))
        tables = [
            weight.shape
            for segment in passed.segments
            for weight in segment.recording.parameters
            if weight.name.endswith("relative_position_bias_table")
        ]
        assert tables == [(2535, heads) for heads in (3, 3, 6, 6, *[12] * 6, 24, 24)]
    mask = shift_mask((16, 56, 56), (8, 7, 7), (4, 3, 3))
    assert mask.shape == (2 * 8 * 8, 392, 392)


@pytest.mark.parametrize(("grid", "window"), [((9,), (3,)), ((4, 6), (2, 3)), ((2, 4, 4, 6), (2, 2, 2, 3))])
def test_windows_of_any_number_of_axes_are_cut_and_joined(grid, window):
    x = torch.randn(2, *grid, 5)
    windows = cut(x, window)
    assert windows.shape == (2 * Placement(window).over(grid).number, *window, 5)
    assert torch.equal(windows[0], x[(0, *map(slice, window))])
    assert torch.equal(join(windows, window, grid), x)


def test_one_number_stands_for_as_many_sides_as_the_image_has():
    changes = ["patch_size=2", *(f"stages.{number}.window_size=2" for number in (0, 1))]
    config = load_config(VIDEO, [*changes, "stages.1.shift_size=1"])
    assert (config.patch, config.grid) == ((2, 2, 2), (3, 10, 14))
    assert [stage.window_size for stage in config.stages] == [(2, 2, 2), (2, 2, 2)]
    assert config.stages[1].shift_size == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (["stages.1.window_size=3x3"], "stages.1.window_size"),
        (["patch_size=16", "image_size=224"], "window_size"),
        (["pos_embed=learned"], "pos_embed"),
        (["image_size=16x224"], "patch_size"),
    ],
)
def test_sizes_with_other_numbers_of_sides_are_refused(changes, where):
    with pytest.raises(ConfigError) as error:
        load_config(VIDEO, changes)
    assert set(error.value.codes) == {"axes-differ"}
    assert where in str(error.value)


def test_the_masks_are_named_where_they_weigh_as_much_as_the_weights():
    """Bytes: 4 * 392 ** 2 for each of 128, 32, 8 (three times) and 2 windows, 1 axis shifted there."""
    nbytes = 4 * 392**2 * (128 + 32 + 3 * 8 + 2)
    found = findings(load_config("swin3d_t"))
    assert f"{nbytes / 2**20:.1f} MiB" == "109.0 MiB"
    assert "109.0 MiB in 6 blocks" in found["shift-masks"]
    assert "window-shrinks" not in found
    assert "shift-masks" not in findings(load_config("swin_t"))


def test_a_window_longer_than_the_grid_reads_biases_of_other_offsets():
    """A window of 1x2x4 tokens on a grid of 1x2x2: its tokens are not the first four of the window."""
    assert "8x4x4" in findings(load_config("swin3d_t", ["image_size=16x112x112"]))["window-shrinks"]
    assert "window-shrinks" not in findings(
        load_config("swin3d_t", ["image_size=8x224x224"])
    )  # frames come first


def test_receptive_fields_are_boxes():
    """A window of 2x3x3 tokens; merged 2x2, frames aside; then shifted by 1x1x1."""
    first, second, *_ = flow_of(load_config(VIDEO)).layers
    assert (first.grid, first.extent, first.largest) == ((3, 5, 7), (2, 3, 3), 2 * 3 * 3)
    assert second.extent == (3, 5, 6)


def test_a_patch_that_is_not_square_has_a_symbol_for_its_width():
    """Patches of 2x1x2 pixels on a grid of 2x3x4, 3 channels to 8: 24 * 12 * 8 MACs."""
    stage = {"block": "swin", "embed_dim": 8, "depth": 1, "num_heads": 1, "window_size": 2}
    made = {"patch_size": [2, 1, 2], "pos_embed": "none", "stages": [stage]}
    config = load_config(made | {"image_size": [3, 3, 7]})
    passed = symbolic(config, forward(config).segments[0])
    formula = sum(op.macs for op in passed.recording.ops)
    assert passed.space.bounds(formula) == (24 * 12 * 8, 24 * 12 * 8)
    assert {"p", "q", "r"} <= {*str(formula).split("*")}


def test_explain_and_sweep_take_videos(tmp_path):
    path = tmp_path / "video.yaml"
    path.write_text(json.dumps(VIDEO), "utf-8")
    embedding = forward(load_config(path)).segments[0]
    formula = str(sum(op.macs for op in symbolic(load_config(path), embedding).recording.ops))
    assert sorted(formula.split("*")) == sorted(["B", "T", "H", "W", "q", "p", "", "2", "c", "C"])
    swept = sweep([str(path)], Grid(resolutions=((6, 20, 28), (8, 40, 56))), ["flops"])
    assert [list(swept.columns[name]) for name in ("frames", "height", "width")] == [
        [6, 8],
        [20, 40],
        [28, 56],
    ]
    for at, size in enumerate(("6x20x28", "8x40x56")):
        assert swept.columns["flops"][at] == forward(load_config(path, [f"image_size={size}"])).flops
    with pytest.raises(SamattnError) as error:
        sweep([str(path)], Grid(resolutions=((64, 64), (32, 32))), ["flops"])
    assert code_of(error.value.message) == "axes-differ"


@pytest.mark.parametrize(
    ("entries", "tokens", "window"),
    [
        (2535, 392, [8, 7, 7]),
        (2535, 0, [8, 7, 7]),
        (13**3, 343, [7, 7, 7]),
        (31 * 13**2, 784, [16, 7, 7]),
        (7, 5, 0),
    ],
)
def test_a_table_and_its_index_show_the_window(entries, tokens, window):
    assert window_of_video(entries, tokens) == window


# -- torchvision -----------------------------------------------------------------------------------------------------


def of_torchvision(config, theirs):
    """torchvision's weights by samattn's names."""
    firsts, names = [0, *accumulate(stage.depth for stage in config.stages)], {}
    for name, weight in theirs.items():
        ours = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
        if found := re.match(r"features\.(\d+)\.(\d+)\.(.*)", ours):  # a block
            ours = f"blocks.{firsts[int(found[1]) // 2] + int(found[2])}.{found[3]}"
        elif found := re.match(r"features\.(\d+)\.(.*)", ours):
            ours = f"transitions.{int(found[1]) // 2 + 1}.{found[2]}"
        names[ours] = weight
    return {name: weight for name, weight in names.items() if "index" not in name and "head" not in name}


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
@pytest.mark.parametrize("size", ["16x64x64", "5x50x70"])
def test_torchvisions_weights_give_its_outputs(size):
    from torchvision.models import get_model  # noqa: PLC0415 - where it is installed

    torch.manual_seed(0)
    theirs = get_model("swin3d_t", weights=None).eval()
    theirs.avgpool, theirs.head = nn.Identity(), nn.Identity()
    config = load_config("swin3d_t", [f"image_size={size}"])
    ours = build(config)
    ours.load_state_dict(of_torchvision(config, theirs.state_dict()), strict=True)
    video = torch.randn(config.input_shape)
    with torch.no_grad():
        made, expected = ours(video), theirs(video)
    torch.testing.assert_close(made.movedim(-1, 1).flatten(1), expected, rtol=0, atol=1e-4)


def test_published_counts_of_torchvision_at_16_frames():
    """Its num_params and _ops (GMACs) of swin3d_t, with the head of 400 classes: 28,158,070 and 43.882."""
    passed = forward(load_config("swin3d_t", ["image_size=16x224x224"]))
    assert passed.params + 769 * 400 == 28_158_070
    assert passed.flops // 2 + 768 * 400 == 43_882_229_760


# -- Swin UNETR ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "params", "flops"),
    [("swin_unetr_24", 2_171_466, 18_201_530_688), ("swin_unetr_48", 8_062_002, 49_853_721_216)],
)
def test_swin_unetr_has_the_counts_of_monai(preset, params, flops):
    """Those of MONAI 1.6.1's swinViT, by FlopCounterMode; the test below counts it anew where MONAI is installed."""
    passed = forward(load_config(preset))
    assert (passed.params, passed.flops) == (params, flops)


@pytest.mark.parametrize("changes", [{}, {"run": {"mode": "training", "autocast": "bfloat16"}}])
def test_swin_unetr_is_the_real_stack_to_the_byte(changes):
    """Grids of 6x11x7 and 3x6x4 tokens, of an image that is padded, then merged to 2x3x2."""
    stages = [
        {**stage, "transition": "patch_merging_3d" if number else "none"}
        for number, stage in enumerate(VIDEO["stages"])
    ]
    keys = {
        "image_size": [12, 21, 14],
        "patch_size": 2,
        "patch_embed": "patch",
        "norm": False,
        "neck": "swin_unetr",
    }
    config = load_config({**VIDEO, **keys, "stages": stages, **changes})
    assert [part.leaving.grid for part in config.plan if part.name == "neck"] == [(2, 3, 2)]
    assert_exact(config, every_layer=False)


def test_a_norm_before_swin_unetrs_own_is_refused():
    with pytest.raises(ConfigError) as error:
        load_config("swin_unetr_24", ["norm=true"])
    assert error.value.codes == ("norm-before-norm",)


def test_swin_unetr_at_its_published_size_reads_biases_of_other_offsets():
    assert "6x6x6" in findings(load_config("swin_unetr_24"))["window-shrinks"]


def of_monai(theirs):
    """MONAI's weights by samattn's names."""
    patterns = (
        (r"layers(\d)\.0\.blocks\.(\d)", lambda found: f"blocks.{2 * int(found[1]) - 2 + int(found[2])}"),
        (r"layers4\.0\.downsample", lambda _: "neck.downsample"),
        (r"layers(\d)\.0\.downsample", lambda found: f"transitions.{found[1]}"),
        (r"linear(\d)", lambda found: f"fc{found[1]}"),
    )
    for pattern, ours in patterns:
        theirs = {re.sub(pattern, ours, name): weight for name, weight in theirs.items()}
    return {name: weight for name, weight in theirs.items() if "index" not in name}


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("monai") is None, reason="needs MONAI")
@pytest.mark.parametrize("width", [24, 48])
def test_monais_weights_give_its_outputs(width):
    from monai.networks.nets.swin_unetr import SwinTransformer  # noqa: PLC0415 - where it is installed

    torch.manual_seed(0)
    theirs = SwinTransformer(1, width, (7, 7, 7), (2, 2, 2), (2, 2, 2, 2), (3, 6, 12, 24)).eval()
    config = load_config(f"swin_unetr_{width}", ["image_size=36x64x28"])
    ours, volume = build(config), torch.randn(config.input_shape)
    ours.load_state_dict(of_monai(theirs.state_dict()), strict=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        expected = theirs(volume)
    with torch.no_grad():
        made = ours(volume)
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    passed = forward(config)
    assert (passed.params, passed.flops) == (
        sum(weight.numel() for weight in theirs.parameters()),
        counted.get_total_flops(),
    )


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_libraries_without_videos_say_so(library):
    with pytest.raises(ConfigError) as error:
        load_config("swin3d_t", [f"implementation={library}"])
    assert set(error.value.codes) == {"implementation-cannot-run"}
    assert "runs only with images" in str(error.value)
