"""The key `run.trains`: the parts and blocks that a step changes, by name, and what is wrong with other names."""

from __future__ import annotations

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import ConfigError, code_of
from samattn_cli.tape.encoder import forward


def trained(preset: str, value: str) -> set[str]:
    return set(load_config(preset, [f"run.trains={value}"]).trained)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("neck", {"neck"}),
        ("blocks.1", {"blocks.1"}),  # and not blocks.10 or blocks.11
        ("blocks.9-11", {"blocks.9", "blocks.10", "blocks.11"}),
        ("neck, blocks.11", {"neck", "blocks.11"}),
        ("[neck, blocks.10-11, pos_embed]", {"neck", "blocks.10", "blocks.11", "pos_embed"}),
        ("blocks", {f"blocks.{index}" for index in range(12)}),
        ("ALL", {"patch_embed", "pos_embed", *(f"blocks.{index}" for index in range(12)), "neck"}),
    ],
)
def test_parts_are_named_one_by_one_or_in_ranges(value: str, parts: set[str]) -> None:
    assert trained("sam_vit_b", value) == parts


def test_other_numbered_parts_have_ranges_too() -> None:
    assert trained("swin_t", "transitions.1-2") == {"transitions.1", "transitions.2"}
    assert trained("swin_t", "transitions") == {"transitions.1", "transitions.2", "transitions.3"}


def test_adapters_train_next_to_parts() -> None:
    assert trained("sam_vit_b_lora", "adapters") == set()
    assert trained("sam_vit_b_lora", "adapters,neck") == {"neck"}


@pytest.mark.parametrize(
    ("value", "code", "hint"),
    [
        ("nek", "unknown-part", "did you mean 'neck'"),
        ("block.3", "unknown-part", "did you mean 'blocks'"),
        ("stages.1", "unknown-part", "patch_embed, pos_embed, neck and blocks.0-11"),
        ("blocks.8-12", "out-of-range", "blocks.0-11"),
        ("blocks.12", "out-of-range", "blocks.0-11"),
        ("blocks.9-3", "out-of-range", "blocks.3-9"),
        ("transitions", "unknown-part", "blocks.0-11"),
        ("none", "nothing-to-train", "run.grad=true"),
        ("[]", "not-a-quantity", "adapters"),
        ("all,neck", "given-twice", "all"),
        ("neck,neck", "given-twice", "'neck'"),
        ("adapters,neck", "nothing-to-train", "sam_lora"),
        ("true", "not-a-quantity", "neck,blocks.24-31"),
    ],
)
def test_what_is_not_a_part_is_refused_with_what_would_be_one(value: str, code: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config("sam_vit_b", [f"run.trains={value}"])
    (problem,) = raised.value.problems
    assert code_of(problem.message) == code
    assert hint in str(problem)


def test_an_error_is_at_its_place_in_the_file(tmp_path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("extends: sam_vit_b\nrun:\n  mode: training\n  trains: [neck, blocks.8-13]\n", "utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value.problems[0]).startswith(f"{file}:4:11: ")


def test_a_part_without_weights_leaves_nothing_to_train() -> None:
    with pytest.raises(ConfigError) as raised:
        trained("qwen2_5_vl_vision", "pos_embed")
    assert code_of(raised.value.problems[0].message) == "nothing-to-train"
    assert trained("qwen2_5_vl_vision", "pos_embed,neck") == {"pos_embed", "neck"}


@pytest.mark.parametrize("preset", presets())
def test_parts_without_weights_are_declared(preset: str) -> None:
    config = load_config(preset)
    for part, segment in zip(config.plan, forward(config).segments, strict=True):
        trains = any(weight.trains for weight in segment.recording.parameters)
        assert (part.has_weights and part.name not in config.unread) == trains, part.name
