"""The key `run.checkpointing`: which blocks a training step checkpoints, and what is wrong with other choices."""

from __future__ import annotations

import json

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.checkpointed import checkpointing_of
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.plan_rules import is_valid
from samattn_cli.errors import ConfigError, code_of
from tests.support.running import samattn

ALL = list(range(12))


def chosen(value: str, preset: str = "sam_vit_b", *settings: str) -> tuple[bool | str, list[int]]:
    config = load_config(preset, [*settings, f"run.checkpointing={value}"])
    return config.run.checkpointing, [
        layer.index for layer in config.layers if layer.name in config.checkpointed
    ]


@pytest.mark.parametrize(
    ("value", "kept", "blocks"),
    [
        ("true", True, ALL),
        ("all", True, ALL),
        ("false", False, []),
        ("None", False, []),
        ("global", "global", [2, 5, 8, 11]),
        ("windowed", "window", [0, 1, 3, 4, 6, 7, 9, 10]),
        ("every 2nd", "every 2nd", [1, 3, 5, 7, 9, 11]),
        ("Every 5", "every 5th", [4, 9]),
        ("every other", "every 2nd", [1, 3, 5, 7, 9, 11]),
        ("[2, 5]", "blocks.2,blocks.5", [2, 5]),
        ("[7, 5, blocks.6, 2]", "blocks.2,blocks.5-7", [2, 5, 6, 7]),
        ("blocks.5-7, 2", "blocks.2,blocks.5-7", [2, 5, 6, 7]),
        ("blocks.1", "blocks.1", [1]),  # and not blocks.10 or blocks.11
        ("0-1,global", "global,blocks.0-1", [0, 1, 2, 5, 8, 11]),
    ],
)
def test_blocks_are_chosen_by_words_and_by_numbers(value: str, kept: bool | str, blocks: list[int]) -> None:
    assert chosen(value) == (kept, blocks)


def test_equal_choices_are_equal_in_a_config_and_its_hash() -> None:
    hashes = {
        config_hash(load_config("sam_vit_b", ["run.mode=training", f"run.checkpointing={value}"]))
        for value in ("[2, 5, 6]", "blocks.5-6,2", "2,5-6")
    }
    assert len(hashes) == 1


def test_a_choice_is_written_as_the_config_reads_it() -> None:
    assert checkpointing_of((0, 1, 3), 4) == "blocks.0-1,blocks.3"
    assert (checkpointing_of((), 4), checkpointing_of(range(4), 4)) == (False, True)
    config = load_config("sam_vit_b", ["run.checkpointing=global,1"])
    assert load_config(json.loads(json.dumps(mapping_of(config)))) == config


@pytest.mark.parametrize(
    ("value", "code", "hint"),
    [
        ("globl", "unknown-value", "did you mean 'global'"),
        ("neck", "unknown-value", "blocks.5-7"),
        ("blocks.12", "out-of-range", "blocks.0-11"),
        ("[2, 12]", "out-of-range", "blocks.0-11"),
        ("5-2", "out-of-range", "blocks.2-5"),
        ("every 1st", "out-of-range", "every 2nd"),
        ("every 13th", "no-blocks", "blocks.0-11"),
        ("[]", "no-blocks", "global"),
        ("all,neck", "given-twice", "all"),
        ("global,global", "given-twice", "'global'"),
        ("2", "not-a-quantity", "[2, 5]"),
        ("[true]", "not-a-quantity", "[2, 5]"),
    ],
)
def test_what_is_no_choice_is_refused_with_what_would_be_one(value: str, code: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(value)
    (problem,) = raised.value.problems
    assert code_of(problem.message) == code
    assert hint in str(problem)


@pytest.mark.parametrize(
    ("settings", "word", "other"),
    [(["window_size=0"], "window", "global"), (["global_attn_indexes=none"], "global", "window")],
)
def test_a_word_that_selects_no_block_is_refused_in_a_config_but_not_where_a_study_moves_blocks(
    settings: list[str], word: str, other: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(word, "sam_vit_b", *settings)
    (problem,) = raised.value.problems
    assert (code_of(problem.message), f"all, {other}" in str(problem)) == ("no-blocks", True)
    windowed = load_config("sam_vit_b", ["run.checkpointing=global"]).all_windowed()
    assert (is_valid(windowed), windowed.checkpointed) == (True, frozenset())


def test_an_error_is_at_its_place_in_the_file(tmp_path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("extends: sam_vit_b\nrun:\n  checkpointing: [2, blocks.8-13]\n", "utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value.problems[0]).startswith(f"{file}:3:18: ")


def test_libraries_checkpoint_all_blocks_or_none() -> None:
    settings = ["implementation=transformers", "run.attention=sdpa", "run.checkpointing=global"]
    with pytest.raises(ConfigError) as raised:
        load_config("sam_vit_b", settings)
    assert code_of(raised.value.problems[0].message) == "unsupported-checkpointing"


@pytest.mark.parametrize("flag", ["--checkpointing=global", "--gradient_checkpointing=2,5,8,11"])
def test_the_flag_takes_a_choice_and_json_says_which_blocks(flag: str) -> None:
    result = samattn("analyze", "sam_vit_b", "--no-verify", "--mode", "training", flag, "--format", "json")
    training = json.loads(result.stdout)["training"]
    assert training["checkpointed_blocks"] == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert training["checkpointing"] is True
