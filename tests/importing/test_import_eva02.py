"""samattn import of EVA-02's detectors: baaivision/EVA's names, with the rotary tables that a checkpoint of it holds."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError
from samattn_cli.importing.importer import imported
from samattn_cli.stack.encoder import build
from tests.support.checkpoints import write_safetensors


def detector(preset: str) -> dict[str, tuple[int, ...]]:
    """Name to shape of a detector's weights and buffers."""
    config = load_config(preset)
    own = {"pos_embed.pos_embed": "net.pos_embed"}
    shapes = {}
    for name, weight in build(config, "meta").named_parameters():
        theirs = name.removeprefix("neck.") if name.startswith("neck.") else own.get(name, f"net.{name}")
        shapes[f"backbone.{theirs}"] = tuple(weight.shape)
    (stage,) = config.stages
    head = stage.embed_dim // stage.num_heads
    for layer in config.layers:
        side = layer.windows.size[0]
        for table in ("freqs_cos", "freqs_sin"):
            shapes[f"backbone.net.{layer.name}.attn.rope.{table}"] = (side * side, head)
            shapes[f"backbone.net.rope_{'glb' if layer.is_global else 'win'}.{table}"] = (side * side, head)
    return shapes | {"proposal_generator.rpn_head.conv.conv0.weight": (256, 256, 3, 3)}


@pytest.mark.parametrize(
    "preset", ["eva02_b_det_1536", pytest.param("eva02_l_det", marks=pytest.mark.exhaustive)]
)
def test_the_tables_show_image_windows_and_heads(preset, tmp_path):
    path = tmp_path / "eva02.yaml"
    path.write_text(imported(str(write_safetensors(tmp_path / "a.safetensors", detector(preset)))), "utf-8")
    made, published = load_config(path), load_config(preset)
    assert (made.image_size, made.neck, made.pos_embed) == (published.image_size, "simple_fpn", "pretrained")
    assert [(each.placement, each.stage.mlp_dim, each.stage.num_heads) for each in made.layers] == [
        (each.placement, each.stage.mlp_dim, each.stage.num_heads) for each in published.layers
    ]


def test_without_tables_the_image_size_is_not_known(tmp_path):
    shapes = {name: shape for name, shape in detector("eva02_b_det").items() if ".freqs_" not in name}
    with pytest.raises(ImportFailedError, match=r"rotary positions.*\[not-in-shapes\]"):
        imported(str(write_safetensors(tmp_path / "a.safetensors", shapes)))
