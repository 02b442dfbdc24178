"""Presets as they are kept are the presets: their configs, their figures, and the files that they were made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from samattn_cli.encoder import kept
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.encoder.presets import presets
from samattn_cli.files.documents import files_of
from samattn_cli.files.load import load_config, load_located
from samattn_cli.files.presets import load_preset
from samattn_cli.files.sources import DISK
from samattn_cli.studies.passes import Passes
from tests.support.running import UPDATE
from tests.support.sampling import sampled


def line_of(name: str) -> kept.Kept:
    """The line of a preset, worked out from its file."""
    config = load_located(name).config
    files = [presets()[path.stem] for path in files_of(presets()[name], DISK)]
    sums = (f"{path.name}:{kept.check_sum(path.read_bytes())}" for path in files)
    return kept.Kept(name, " ".join(sums), *figures_of(config), kept.written(config))


def figures_of(config: EncoderConfig) -> tuple[str, str, str]:
    """Blocks, parameters and FLOPs, derived."""
    passed = Passes(config).forward
    return str(len(config.layers)), str(passed.params), str(passed.flops)


def test_every_preset_is_kept_as_its_file_has_it() -> None:
    """If this fails, run `python -m tests.refresh outputs`, and look at the difference."""
    if UPDATE:
        lines = map("\t".join, map(line_of, presets()))
        kept.FILE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        kept._text.cache_clear()
    assert [line.name for line in kept.kept_presets()] == list(presets())
    for name in presets():
        config = load_located(name).config
        assert load_preset(name) == config
        assert repr(load_preset(name)) == repr(config)  # 4.0 is not 4


@pytest.mark.parametrize("name", sampled(presets(), 8))
def test_the_figures_that_are_kept_are_derived(name: str) -> None:
    line = kept.kept_preset(name)
    assert line is not None
    assert (line.blocks, line.params, line.flops) == figures_of(load_config(name))


def test_a_preset_that_has_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed base of `extends` too."""
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("{image_size: 64, patch_size: 16, embed_dim: 8, depth: 1, num_heads: 1}\n")
    mine.write_text("extends: base.yaml\n")
    monkeypatch.setattr("samattn_cli.encoder.kept.presets", lambda: {"base": base, "mine": mine})
    sums = " ".join(f"{path.name}:{kept.check_sum(path.read_bytes())}" for path in (mine, base))
    line = kept.Kept("mine", sums, "1", "2", "3", kept.written(load_located(str(mine)).config))
    monkeypatch.setattr(kept, "_text", lambda: "\t".join(line) + "\n")
    assert kept.kept_preset("mine") == line
    base.write_text(base.read_text() + "# changed\n")
    assert kept.kept_preset("mine") is None
    assert kept.kept_preset("min") is None


def test_a_file_with_the_name_of_a_preset_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sam_vit_b").write_text("{extends: sam_vit_h, image_size: 512}\n")
    monkeypatch.chdir(tmp_path)
    assert load_config("sam_vit_b").image_size == (512, 512)
    assert load_config("SAM-ViT-B").image_size == (1024, 1024)
