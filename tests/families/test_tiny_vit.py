"""TinyViT and MobileSAM: what is true of this family alone."""

from __future__ import annotations

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.importing.importer import imported
from samattn_cli.studies.flow import flow_of
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.training import training_step
from tests.public.tiny_vit import SMALL
from tests.support.checkpoints import shapes_of, write_safetensors
from tests.support.importing import is_preset


def test_layers_of_convolutions_are_neither_global_nor_windowed():
    config = load_config("mobile_sam")
    report = analyze(config, verify=False)
    assert [layer.attention for layer in report.layers] == ["convolution"] * 2 + ["window"] * 10
    assert report.layers[0].attention_bytes == 0
    everywhere = config.all_global().layers
    assert [layer.is_global for layer in everywhere] == [False] * 2 + [True] * 10
    assert not any(finding.code == "no-global-layer" for finding in report.findings)


def test_windows_of_14_pad_a_grid_of_64_to_70():
    """In blocks.4 qkv and proj run on 70 * 70 tokens in place of 64 * 64."""
    report = analyze(load_config("mobile_sam"), verify=False)
    assert (report.layers[4].grid, report.layers[4].padded_grid) == ((64, 64), (70, 70))
    (padding,) = (each for each in report.findings if "stage 2" in each.message and "19.63" in each.message)
    assert "4,900 instead of 4,096" in padding.message


def test_a_token_sees_two_more_rows_after_each_convolution_of_3x3():
    """A block without attention adds 2 rows. conv_merging reads 3 rows of which each has 5, 1 apart: 7. Windows of 7 see
    7 adjacent ones, each of 7 rows and 2 apart: 7 + 6 * 2 = 19. After the local convolution a token at the edge of its window
    sees those of the next one too: 7 * 2 more."""
    flow = flow_of(load_config("mobile_sam"))
    assert [layer.extent for layer in flow.layers[:2]] == [(3, 3), (5, 5)]
    assert flow.layers[2].extent == (19 + 14, 19 + 14)
    assert flow.first_full_context == 8


def test_a_training_step_saves_the_statistics_of_batches():
    """In evaluation cuDNN keeps none. In training mode each of the 2 norms of the stem keeps two of its channels, 32 and 64."""
    config = load_config("tiny_vit_5m")
    inference, training = forward(config).segments[0], training_step(config).forward.segments[0]
    made = [
        [s.nbytes for op in each.recording.ops if "batch_norm" in op.kind for s in op.allocates[1:]]
        for each in (inference, training)
    ]
    assert made == [[0] * 6, [4 * 32, 4 * 32, 0, 4 * 64, 4 * 64, 0]]


def test_one_value_of_a_channel_has_no_statistics():
    """Torch refuses to train it; the grid of the last stage is 1x1."""
    verdict = verify(load_config(SMALL, ["image_size=8"]))
    assert "Expected more than 1 value per channel" in verdict.memory_trace.reason


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod."])
def test_mobile_sam_is_read_behind_any_prefix(prefix, tmp_path):
    shapes = {f"{prefix}{name}": shape for name, shape in shapes_of("mobile_sam").items()}
    text = imported(str(write_safetensors(tmp_path / "mobile_sam.safetensors", shapes)))
    assert is_preset(text, "mobile_sam", tmp_path)
    assert "1024 is that of MobileSAM" in text
