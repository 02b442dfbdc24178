"""What people type who are in a hurry: what surely means one thing is taken, and all else is told what would be right."""

import jsonschema
import pytest

from samattn_cli import load_config
from samattn_cli.encoder.keys import choices_of, instead_of
from samattn_cli.encoder.model import RunConfig
from samattn_cli.encoder.presets import devices, presets
from samattn_cli.errors import ConfigError, did_you_mean
from samattn_cli.files.blame import MOST_PROBLEMS
from samattn_cli.files.load import parse_override
from samattn_cli.files.schema import config_schema
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.spelling import alike, containing, either, known_as
from tests.support.problems import Known, messages_of, problems_of
from tests.support.running import samattn

SAM = ("sam_vit_b", "sam_vit_h", "med_sam_adapter_b", "swin_t")

# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["sam_vit_h", "SAM_ViT_H", "sam-vit-h", "Sam ViT-H", "samvith", "sam.vit.h"]
)
def test_capitals_and_what_joins_words_make_no_difference_to_a_name(written: str) -> None:
    assert known_as(written, presets()) == "sam_vit_h"


@pytest.mark.parametrize("written", ["sam", "sam_vit", "", "-", "sam_vit_hh"])
def test_a_word_that_may_be_several_names_or_none_is_taken_for_no_name(written: str) -> None:
    assert known_as(written, presets()) is None


def test_two_names_that_differ_in_what_is_left_out_are_told_apart_by_it() -> None:
    assert known_as("a_b", ["a_b", "ab"]) == "a_b"
    assert known_as("a-b", ["a_b", "ab"]) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a100", ["a100_40", "a100_80"]),
        ("A100", ["a100_40", "a100_80"]),
        ("RTX4090", ["rtx_4090"]),
        ("4090", ["rtx_4090"]),
        ("h10", ["h100"]),
        ("orin", ["jetson_orin"]),
        ("quantum", []),
        ("9", []),  # too short to be looked for in names
    ],
)
def test_a_device_that_there_is_not_comes_with_those_that_it_may_be(written: str, meant: list[str]) -> None:
    assert alike(written, devices()) == meant


def test_names_that_begin_with_a_word_stand_before_those_that_only_contain_it() -> None:
    assert containing("sam", SAM) == ["sam_vit_b", "sam_vit_h", "med_sam_adapter_b"]
    assert did_you_mean("sam", SAM) == "; did you mean 'sam_vit_b' or 'sam_vit_h'?"
    assert did_you_mean("adapter", SAM) == "; did you mean 'med_sam_adapter_b'?"


def test_a_long_list_of_names_is_cut() -> None:
    assert either("abc") == "'a', 'b' or 'c'"
    assert either("a") == "'a'"
    assert either("abcde", most=3) == "'a', 'b', 'c' or one of 2 more"


# -- values ----------------------------------------------------------------------------------------------------------

TYPES = {
    "float32": ["fp32", "FP32", "f32", "float", "torch.float32", "Float32"],
    "bfloat16": ["bf16", "BF16", "torch.bfloat16", "b-float16"],
    "float16": ["fp16", "half", "f16", "torch.float16", "torch.half", "FLOAT16"],
}
VALUES = [
    *((f"run.dtype={written}", dtype) for dtype, names in TYPES.items() for written in names),
    ("run.autocast=bf16", "bfloat16"),
    ("run.autocast=None", "none"),
    ("run.attention=SDPA", "sdpa"),
    ("run.mode=train", "training"),
    ("run.optimizer=AdamW", "adamw"),
    ("run.optimizer=sgd-momentum", "sgd_momentum"),
    ("image_size=896x1536", (896, 1536)),
    ("image_size=896 x 1536", (896, 1536)),
    ("image_size=896×1536", (896, 1536)),
    ("window_size=7x14", (7, 14)),
    ("stages.0.window_size=7X14", (7, 14)),
    ("global_attn_indexes=3,7,11", (3, 7, 11)),
    ("global_attn_indexes=11, 3", (3, 11)),
    ("global_attn_indexes=7", (7,)),
    ("global_attn_indexes=none", ()),
]


@pytest.mark.parametrize(("override", "value"), VALUES)
def test_a_value_is_taken_as_people_write_it(override: str, value: object) -> None:
    config = load_config("sam_vit_b", [override])
    key = override.partition("=")[0].rpartition(".")[2]
    places = [place for place in (config.run, config.stages[0], config) if hasattr(place, key)]
    assert getattr(places[0], key) == value


def test_a_file_may_write_values_so_too(tmp_path) -> None:
    file = tmp_path / "e.yaml"
    text = "extends: sam_vit_b\nimage_size: 896x1536\nglobal_attn_indexes: 3,7\nrun: {dtype: half, mode: Training}\n"
    file.write_text(text, "utf-8")
    config = load_config(file)
    assert (config.image_size, config.stages[0].global_attn_indexes) == ((896, 1536), (3, 7))
    assert (config.run.dtype, config.run.mode) == ("float16", "training")


def test_a_preset_is_extended_and_listed_whatever_its_capitals(tmp_path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("extends: SAM-ViT-B\n", "utf-8")
    assert load_config(path).stages == load_config("Sam_ViT_B").stages == load_config("sam_vit_b").stages
    (tmp_path / "SAM-ViT-B").write_text("extends: vit_b\n", "utf-8")  # a file of that name comes first
    assert load_config(path).stages == load_config("vit_b").stages


def test_an_override_has_the_value_that_it_means_for_what_a_sweep_calls_its_points() -> None:
    assert parse_override("run.dtype=fp16").value.plain() == "float16"
    assert parse_override("stages.0.window_size=7x14").value.plain() == (7, 14)
    assert parse_override("name=7x14").value.plain() == "7x14"  # a name is text


def test_a_kernel_takes_its_heads_in_the_type_that_is_meant() -> None:
    """The rules between keys see what is meant: 768 / 192 = 4 channels a head, and float16 takes multiples of 8."""
    with pytest.raises(ConfigError) as caught:
        load_config("vit_b", ["num_heads=192", "run.dtype=half", "run.attention=SDPA"])
    assert "[kernel-head-width] sdpa float16 8 4 192" in messages_of(caught)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.attention=flash", "[unknown-value] run.attention 'flash' sdpa scaled_dot_product_attention"),
        ("run.attention=flash_attention_2", "[unknown-value] 'flash_attention_2' sdpa"),
        ("run.dtype=tf32", "[unknown-value] run.dtype 'tf32' run.tf32=true"),
        ("run.dtype=int8", "[unknown-value] 'float32' 'bfloat16' 'float16' 'int8'"),
        ("image_size=512,768", "[not-a-pair] image_size '512,768' 512x768"),
        ("image_size=512,768,1024", "[not-a-pair] image_size '512,768,1024'"),
        ("rel_pos_grid=8,8", "[not-a-pair] rel_pos_grid '8,8' 8x8"),
        ("global_attn_indexes=first", "[wrong-type] global_attn_indexes 'first'"),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_comes_with_what_would_be_right(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("sam_vit_b", [override])
    assert messages_of(caught) == [message]


def test_what_stands_for_a_kernel_is_reported_only_of_what_is_not_one() -> None:
    attention = RunConfig.__dataclass_fields__["attention"]
    assert choices_of(attention) == ["eager", "sdpa", "fused"]
    assert [instead_of(attention, word) for word in choices_of(attention)] == ["", "", ""]


def test_the_schema_that_editors_check_with_takes_what_is_taken() -> None:
    schema = config_schema()
    file = {
        "extends": "sam_vit_b",
        "image_size": "896x1536",
        "global_attn_indexes": "3,7",
        "window_size": "7x14",
    }
    jsonschema.validate({**file, "run": {"dtype": "fp16", "autocast": "bf16"}}, schema)
    for wrong in ({"image_size": "512,768"}, {"run": {"dtype": "int8"}}, {"global_attn_indexes": "first"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**file, **wrong}, schema)


# -- whose fault it is -----------------------------------------------------------------------------------------------


def problems(source, *overrides: str) -> list[Known]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, [parse_override(text) for text in overrides])
    return problems_of(caught)


def test_a_rule_that_an_option_breaks_is_not_blamed_on_a_preset() -> None:
    said = "--set embed_dim=1000: [not-divisible] num_heads 12 embed_dim 1000 8 10"
    assert problems("sam_vit_b", "embed_dim=1000") == [said]
    assert problems("sam_vit_b", "mlp_ratio=2", "embed_dim=1000", "run.dtype=fp16") == [said]


def test_of_several_options_each_has_its_own_fault() -> None:
    assert problems("sam_vit_b", "depth=8", "embed_dim=1000") == [
        "--set embed_dim=1000: [not-divisible] 12 1000 8 10",
        "--set depth=8: [no-such-block] global_attn_indexes 8 0 7",
        "--set depth=8: [no-such-block] global_attn_indexes 11 0 7",
    ]


def test_a_rule_that_only_the_whole_encoder_shows_is_the_options_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = problems("swin_t", "run.trains=adapters")
    assert found == "--set run.trains=adapters: [nothing-to-train]"
    (tmp_path / "e.yaml").write_text("extends: swin_t\nrun: {attention: eager}\n", "utf-8")
    (found,) = problems("e.yaml", "run.attention=fused")
    assert found == "--set run.attention=fused: [kernel-not-modelled] fused swin"


def test_a_key_of_a_file_is_blamed_for_what_it_breaks_in_the_file_that_it_extends(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("extends: sam_vit_b\nnum_heads: 12\n", "utf-8")
    (tmp_path / "e.yaml").write_text("extends: base.yaml\nembed_dim: 1000\n", "utf-8")
    said = "[not-divisible] 12 1000 8 10"
    assert problems("e.yaml") == [f"e.yaml:2:12: {said} base.yaml:2:12"]
    (tmp_path / "base.yaml").write_text("extends: sam_vit_b\n", "utf-8")
    assert problems("e.yaml") == [f"e.yaml:2:12: {said}"]


def test_what_is_wrong_without_the_option_too_stays_where_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.yaml").write_text("extends: sam_vit_b\nnum_heads: 11\n", "utf-8")
    said = "e.yaml:2:12: [not-divisible] 11 768 8 12"
    assert problems("e.yaml", "mlp_ratio=2") == [said]


@pytest.mark.parametrize("key", ["dtype", "attention", "autocast", "trains"])
def test_a_key_of_run_at_the_top_level_is_not_taken_for_that_of_run(key: str, tmp_path) -> None:
    """The rules between keys looked for run.dtype where there is no run, and found a stray dtype: KeyError."""
    file = tmp_path / "e.yaml"
    file.write_text("image_size: 32\npatch_size: 8\nembed_dim: 8\ndepth: 1\nnum_heads: 1\n", "utf-8")
    assert problems(file, f"{key}=x") == [f"--set {key}=x: [unknown-key] '{key}' 'run:'"]


def test_a_profile_of_a_thresholds_file_may_write_values_so_too(tmp_path) -> None:
    file = tmp_path / "samattn.yaml"
    file.write_text(
        "version: 1\nconfigs: [vit_b]\nprofiles: {p: {dtype: half, image_size: 448x224}}\nrules: [{id: a, metric: flops, limit: 1 TFLOP}]\n",
        "utf-8",
    )
    profile = load_thresholds(file).thresholds.profiles["p"]
    assert (profile.dtype, profile.image_size) == ("float16", (448, 224))


def test_a_file_with_more_faults_than_a_slip_makes_is_not_searched_for_whose_they_are(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = ",".join(map(str, range(12, 12 + MOST_PROBLEMS + 1)))
    (tmp_path / "base.yaml").write_text(f"extends: sam_vit_b\nglobal_attn_indexes: [{wrong}]\n", "utf-8")
    (tmp_path / "e.yaml").write_text("extends: base.yaml\ndepth: 12\n", "utf-8")
    found = problems("e.yaml", "depth=11")
    assert len(found) == MOST_PROBLEMS + 1
    assert all(problem.where.startswith("base.yaml:2:") for problem in found)


def test_an_empty_name_is_not_the_default_config():
    done = samattn("compare-placements", "")
    assert (done.returncode, done.stdout, "[empty-name]" in done.stderr) == (2, "", True)
