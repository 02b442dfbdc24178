import errno
import io
import json
import os
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.encoder.layouts import GRID
from samattn_cli.encoder.model import EncoderConfig, RunConfig, StageConfig
from samattn_cli.encoder.presets import presets
from samattn_cli.encoder.registry import NECKS, POS_EMBEDS, TRANSITIONS
from samattn_cli.errors import ConfigError
from samattn_cli.files.documents import MAX_EXTENDS
from samattn_cli.files.load import Override, load_config, parse_override
from samattn_cli.files.yaml12 import MAX_BYTES
from tests.support.problems import problems_of as known_problems
from tests.support.sampling import examples

FLAT = "image_size: 224\npatch_size: 16\nembed_dim: 96\ndepth: 4\nnum_heads: 3\n"
STAGES = """\
image_size: 224
patch_size: 16
stages:
- {embed_dim: 96, depth: 4, num_heads: 3, window_size: 7, global_attn_indexes: [3]}
- {embed_dim: 96, depth: 2, num_heads: 6, window_size: 7, global_attn_indexes: [4]}
"""
MAPPING = {"image_size": 224, "patch_size": 16, "embed_dim": 96, "depth": 4, "num_heads": 3}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def load(text, *overrides):
    return load_config(write("e.yaml", text), overrides)


def problems_of(source, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    return known_problems(caught)


def problems_in(text, *overrides):
    return problems_of(write("e.yaml", text), *overrides)


def one_of(*words):
    return " ".join(map(repr, words))


TO_A_GRID = " ".join(word for word, part in TRANSITIONS.items() if part.made == GRID)
A_NECK, A_POS_EMBED = one_of("none", *NECKS), one_of("none", *POS_EMBEDS)


def flat_with(line):
    key = line.partition(":")[0]
    kept = [old for old in FLAT.splitlines() if old.partition(":")[0] != key]
    return "\n".join([*kept, line]) + "\n"


# What loads


PRESETS = {
    "custom_encoder": ((768, 1152), 13, 640, 20, 10, (12, 12), (2, 6, 11, 16, 19), "bfloat16"),
    "sam_vit_b": ((1024, 1024), 3, 768, 12, 12, (14, 14), (2, 5, 8, 11), "float32"),
    "sam_vit_h": ((1024, 1024), 3, 1280, 32, 16, (14, 14), (7, 15, 23, 31), "float32"),
    "sam_vit_h_all_global": ((1024, 1024), 3, 1280, 32, 16, (0, 0), (), "float32"),
    "sam_vit_h_all_windowed": ((1024, 1024), 3, 1280, 32, 16, (14, 14), (), "float32"),
    "sam_vit_l": ((1024, 1024), 3, 1024, 24, 16, (14, 14), (5, 11, 17, 23), "float32"),
}


@pytest.mark.parametrize("name", presets())
def test_each_preset_says_what_it_is(name):
    assert load_config(name).name == name
    assert load_config(name).description


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_loads_with_its_figures(name):
    config = load_config(name)
    (stage,) = config.stages
    assert PRESETS[name] == (
        config.image_size,
        config.in_chans,
        stage.embed_dim,
        stage.depth,
        stage.num_heads,
        stage.window_size,
        stage.global_attn_indexes,
        config.run.dtype,
    )
    assert (config.name, config.patch_size, config.neck) == (name, 16, "sam")
    assert (stage.rel_pos, stage.qkv_bias, stage.mlp_ratio) == ("decomposed", True, 4)


def test_a_preset_is_also_a_file_that_loads():
    assert load_config(presets()["sam_vit_b"]) == load_config("sam_vit_b")


def test_a_file_stands_before_the_preset_of_its_name():
    write("sam_vit_b", FLAT)
    assert load_config("sam_vit_b").stages[0].embed_dim == 96


def test_keys_left_out_have_their_defaults():
    assert load(FLAT) == EncoderConfig(
        name="e",
        description="",
        image_size=(224, 224),
        in_chans=3,
        patch_size=16,
        pos_embed="learned",
        neck="none",
        out_chans=256,
        stages=(
            StageConfig(
                embed_dim=96,
                depth=4,
                num_heads=3,
                mlp_ratio=4.0,
                qkv_bias=True,
                rel_pos="none",
                window_size=(0, 0),
                global_attn_indexes=(),
            ),
        ),
        run=RunConfig(batch_size=1, dtype="float32"),
    )


def test_flat_keys_are_one_entry_of_stages():
    staged = "image_size: 224\npatch_size: 16\nstages:\n- embed_dim: 96\n  depth: 4\n  num_heads: 3\n"
    assert load(staged) == load(FLAT)


def test_several_stages_stand_in_their_order():
    assert [(stage.depth, stage.num_heads) for stage in load(STAGES).stages] == [(4, 3), (2, 6)]


@pytest.mark.parametrize("line", ["image_size: [192, 256]", "image_size:\n- 192\n- 256"])
def test_image_size_may_be_height_and_width(line):
    assert load(flat_with(line)).image_size == (192, 256)


def test_image_size_may_be_one_number_for_a_square():
    assert load(FLAT).image_size == (224, 224)


@pytest.mark.parametrize(
    ("value", "pair"), [("7", (7, 7)), ("[7, 14]", (7, 14)), ("0", (0, 0)), ("[0, 0]", (0, 0))]
)
def test_window_size_may_be_a_number_or_height_and_width(value, pair):
    assert load(flat_with(f"window_size: {value}")).stages[0].window_size == pair


def test_global_indexes_are_sorted():
    assert load(flat_with("global_attn_indexes: [3, 0, 2]")).stages[0].global_attn_indexes == (0, 2, 3)


@pytest.mark.parametrize(
    ("text", "ratio"), [("4", 4.0), ("2.5", 2.5), ("1e1", 10.0), ("0x2", 2.0), ("1024", 1024.0)]
)
def test_mlp_ratio_may_be_whole_or_not(text, ratio):
    found = load(flat_with(f"mlp_ratio: {text}")).stages[0].mlp_ratio
    assert (type(found), found) == (float, ratio)


def test_an_mlp_of_one_hidden_channel_is_allowed():
    assert load(flat_with("mlp_ratio: 0.011")).stages[0].mlp_dim == 1


def test_a_whole_number_may_be_written_with_an_exponent():
    assert load(flat_with("out_chans: 1e3") + "neck: sam\n").out_chans == 1000


def test_the_largest_numbers_allowed_load():
    config = load(
        "image_size: 1048576\npatch_size: 1048576\nembed_dim: 1048576\ndepth: 1000\nnum_heads: 1048576\n"
        "in_chans: 1048576\nneck: sam\nout_chans: 1048576\nwindow_size: 1048576\nrun: {batch_size: 1048576}\n"
    )
    assert (config.grid, config.run.batch_size, len(config.layers)) == ((1, 1), 1 << 20, 1000)


def test_the_name_is_the_files_stem_unless_given():
    assert load_config(write("dir/my.vit.yaml", FLAT)).name == "my.vit"
    assert load(FLAT + "name: a b\n").name == "a b"


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter():
    assert load(b"\xef\xbb\xbf" + FLAT.replace("\n", "\r\n").encode()) == load(FLAT)


def test_a_path_may_be_a_path_object_or_a_string(folder):
    write("e.yaml", FLAT)
    assert load_config(folder / "e.yaml") == load_config(str(folder / "e.yaml")) == load_config("./e.yaml")


def test_standard_input_is_read_for_a_dash(monkeypatch):
    write("base.yaml", FLAT)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"extends: base.yaml\ndepth: 7\n")))
    config = load_config("-")
    assert (config.name, config.stages[0].depth) == ("stdin", 7)


def test_standard_input_is_named_in_messages(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FLAT.encode() + b"dpth: 7\n")))
    assert problems_of("-") == ["<stdin>:6:1: [unknown-key] 'dpth' 'depth'"]


def test_a_mapping_is_a_source():
    assert load_config(MAPPING) == replace(load(FLAT), name="encoder")


def test_a_mapping_may_have_lists_tuples_and_mappings_inside():
    stages = [
        {"embed_dim": 96, "depth": 4, "num_heads": 3, "window_size": (7, 8), "global_attn_indexes": [3, 1]}
    ]
    config = load_config(
        {"image_size": (224, 192), "patch_size": 16, "stages": stages, "run": {"batch_size": 2}}
    )
    assert config.image_size == (224, 192)
    assert (config.stages[0].window_size, config.stages[0].global_attn_indexes) == ((7, 8), (1, 3))
    assert config.run == RunConfig(batch_size=2)


def test_a_mapping_may_extend_a_preset_and_take_overrides():
    config = load_config({"extends": "sam_vit_b", "depth": 12}, ["embed_dim=384"])
    assert (config.name, config.stages[0].embed_dim, config.stages[0].num_heads) == ("encoder", 384, 12)


def test_a_mapping_is_left_as_it_was():
    mapping = {**MAPPING, "run": {"batch_size": 2}}
    load_config(mapping, ["depth=2", "run.batch_size=3"])
    assert mapping == {**MAPPING, "run": {"batch_size": 2}}


# extends


def test_extends_a_preset():
    config = load("extends: sam_vit_b\nimage_size: 512\n")
    assert config == replace(load_config("sam_vit_b"), image_size=(512, 512), name="e", description="")


def test_extends_a_path_from_the_extending_files_folder():
    write("bases/small.yaml", FLAT)
    write("mine/one.yaml", "extends: ../bases/small.yaml\ndepth: 2\n")
    write("mine/two.yaml", "extends: one.yaml\nnum_heads: 6\n")
    (stage,) = load_config("mine/two.yaml").stages
    assert (stage.embed_dim, stage.depth, stage.num_heads) == (96, 2, 6)


def test_extends_an_absolute_path(folder):
    write("base.yaml", FLAT)
    write("sub/e.yaml", f"extends: {folder / 'base.yaml'}\n")
    assert load_config("sub/e.yaml").stages[0].depth == 4


def test_a_chain_takes_the_nearest_value():
    write("a.yaml", FLAT + "run: {batch_size: 2, dtype: float16}\nwindow_size: 7\n")
    write("b.yaml", "extends: a.yaml\nwindow_size: 8\ndepth: 6\n")
    config = load("extends: b.yaml\ndepth: 5\nrun: {batch_size: 3}\n")
    assert (config.stages[0].depth, config.stages[0].window_size) == (5, (8, 8))
    assert config.run == RunConfig(batch_size=3, dtype="float16")


def test_name_and_description_are_not_inherited():
    write("base.yaml", FLAT + "name: the base\ndescription: A base\n")
    assert (load_config("base.yaml").name, load_config("base.yaml").description) == ("the base", "A base")
    assert (load("extends: base.yaml\n").name, load("extends: base.yaml\n").description) == ("e", "")
    assert load("extends: base.yaml\nname: mine\ndescription: Mine\n").name == "mine"


def test_lists_are_replaced_and_not_joined():
    assert load("extends: sam_vit_b\nglobal_attn_indexes: [3]\n").stages[0].global_attn_indexes == (3,)
    assert load("extends: sam_vit_b\nglobal_attn_indexes: []\n").stages[0].global_attn_indexes == ()


def test_run_is_merged_over_a_base_that_has_one_and_over_one_that_has_none():
    write("base.yaml", FLAT + "run: {dtype: float16}\n")
    assert load("extends: base.yaml\nrun: {batch_size: 2}\n").run == RunConfig(batch_size=2, dtype="float16")
    assert load("extends: sam_vit_b\nrun: {batch_size: 2}\n").run == RunConfig(batch_size=2)


def test_flat_keys_change_the_stage_of_a_one_stage_base():
    write(
        "base.yaml", "image_size: 224\npatch_size: 16\nstages:\n- {embed_dim: 96, depth: 4, num_heads: 3}\n"
    )
    (stage,) = load("extends: base.yaml\ndepth: 8\nwindow_size: 7\n").stages
    assert (stage.embed_dim, stage.depth, stage.window_size) == (96, 8, (7, 7))


def test_stages_replace_those_of_the_base():
    write("base.yaml", STAGES)
    assert load("extends: base.yaml\nstages: [{embed_dim: 64, depth: 1, num_heads: 1}]\n").stages == (
        StageConfig(embed_dim=64, depth=1, num_heads=1),
    )
    assert (
        len(load("extends: sam_vit_b\nimage_size: 224\n" + STAGES.partition("patch_size: 16\n")[2]).stages)
        == 2
    )


def test_flat_keys_over_a_base_of_several_stages_say_what_to_do():
    write("base.yaml", STAGES)
    assert problems_in("extends: base.yaml\ndepth: 3\nwindow_size: 7\n") == [
        "e.yaml:2:1: [ambiguous-stage] depth 2 stages.0.depth",
        "e.yaml:3:1: [ambiguous-stage] window_size 2 stages.0.window_size",
    ]


@pytest.mark.parametrize("head", ["", "extends: sam_vit_b\n"])
def test_flat_keys_next_to_stages_are_rejected_each_with_all_else_that_is_wrong(head):
    line = 1 + head.count("\n")
    stages = "stages: [{embed_dim: 64, depth: 1, num_head: 1, num_heads: 1}]\n"
    assert problems_in(head + "depth: 3\nimage_size: big\npatch_size: 16\n" + stages + "num_heads: 3\n") == [
        f"e.yaml:{line}:1: [misplaced-key] depth stages",
        f"e.yaml:{line + 1}:13: [not-a-pair] image_size 'big'",
        f"e.yaml:{line + 3}:36: [unknown-key] 'stages.0.num_head' 'num_heads'",
        f"e.yaml:{line + 4}:1: [misplaced-key] num_heads stages",
    ]


def test_a_config_that_extends_itself_is_rejected():
    write("a.yaml", "extends: a.yaml\n")
    assert problems_of("a.yaml") == ["a.yaml:1:10: [extends-itself] extends a.yaml"]


def test_a_cycle_is_rejected_with_its_way():
    write("a.yaml", "extends: sub/b.yaml\n")
    write("sub/b.yaml", "\nextends: ./c.yaml\n")
    write("sub/c.yaml", "extends: ../a.yaml\n")
    assert problems_of("a.yaml") == ["sub/c.yaml:1:10: [extends-itself] extends a.yaml b.yaml c.yaml"]


def test_a_chain_may_be_as_long_as_the_cap_and_no_longer():
    for number in range(MAX_EXTENDS + 1):
        write(f"{number}.yaml", f"extends: {number + 1}.yaml\n")
    write(f"{MAX_EXTENDS + 1}.yaml", FLAT)
    assert load_config("1.yaml").stages[0].depth == 4
    assert problems_of("0.yaml") == ["16.yaml:1:10: [extends-too-long] 16"]


@pytest.mark.parametrize("value", ["", " 12", " [sam_vit_b]", " {}", " '-'", " true"])
def test_extends_must_be_a_name_or_path(value):
    column = 9 + value.count(" ")
    assert problems_in(f"extends:{value}\n") == [f"e.yaml:1:{column}: [bad-extends] extends"]


def test_a_base_that_is_missing_is_reported_at_extends():
    assert problems_in(FLAT + "extends: sam_vit_bb\n") == [
        "e.yaml:6:10: [file-not-found] 'sam_vit_bb' 'sam_vit_b'"
    ]


def test_a_problem_in_a_base_is_reported_in_the_base():
    write("sub/base.yaml", flat_with("num_heads: 5"))
    assert problems_in("extends: sub/base.yaml\nin_chans: 0\n") == [
        "e.yaml:2:11: [out-of-range] in_chans 1 0",
        "sub/base.yaml:5:12: [not-divisible] num_heads 5 embed_dim 96 4 6",
    ]


def test_keys_that_neither_config_has_are_missing_in_the_extending_one():
    write("base.yaml", "patch_size: 16\nembed_dim: 96\ndepth: 4\nnum_heads: 3\n")
    assert problems_in("# mine\nextends: base.yaml\n") == ["e.yaml:2:1: [missing-key] image_size"]


def test_a_broken_base_is_put_right_by_the_extending_config():
    write("base.yaml", flat_with("num_heads: 5"))
    assert load("extends: base.yaml\nnum_heads: 6\n").stages[0].num_heads == 6


# Overrides


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("image_size=512", lambda config: config.image_size == (512, 512)),
        ("image_size=[192, 256]", lambda config: config.image_size == (192, 256)),
        ("window_size=7", lambda config: config.stages[0].window_size == (7, 7)),
        ("stages.0.window_size=7", lambda config: config.stages[0].window_size == (7, 7)),
        ("run.batch_size=2", lambda config: config.run == RunConfig(batch_size=2)),
        ("run={dtype: float16}", lambda config: config.run == RunConfig(dtype="float16")),
        (" depth = 4 ", lambda config: config.stages[0].depth == 4),
        ("name=a=b", lambda config: config.name == "a=b"),
        ("name='12'", lambda config: config.name == "12"),
        ("description=''", lambda config: config.description == ""),
        ("global_attn_indexes.0=1", lambda config: config.stages[0].global_attn_indexes == (1, 3)),
        ("stages.0.global_attn_indexes.1=2", lambda config: config.stages[0].global_attn_indexes == (0, 2)),
        ("stages=[{embed_dim: 8, depth: 1, num_heads: 2}]", lambda config: config.stages[0].embed_dim == 8),
        ("stages.0={embed_dim: 8, depth: 1, num_heads: 2}", lambda config: config.stages[0].embed_dim == 8),
    ],
)
def test_an_override_is_laid_over_the_file(override, changed):
    text = flat_with("global_attn_indexes: [0, 3]") + "description: Mine\n"
    assert not changed(load(text, "depth=5"))
    assert changed(load(text, "depth=5", override))


def test_an_override_changes_only_its_key():
    assert load(FLAT, "run.batch_size=2") == replace(load(FLAT), run=RunConfig(batch_size=2))
    assert load(STAGES, "stages.1.depth=3").stages == (
        load(STAGES).stages[0],
        replace(load(STAGES).stages[1], depth=3),
    )


def test_overrides_keep_what_stood_next_to_them():
    text = FLAT + "run: {batch_size: 2, dtype: float16}\n"
    assert load(text, "run.batch_size=3").run == RunConfig(batch_size=3, dtype="float16")


def test_the_last_of_two_overrides_counts():
    assert load(FLAT, "depth=5", "depth=6").stages[0].depth == 6
    assert load(FLAT, "depth=5", "stages.0.depth=6").stages[0].depth == 6


def test_overrides_lie_over_what_is_extended():
    write("base.yaml", flat_with("window_size: 7"))
    assert load("extends: base.yaml\ndepth: 2\n", "window_size=8", "depth=3").stages == (
        StageConfig(embed_dim=96, depth=3, num_heads=3, window_size=(8, 8)),
    )


def test_a_key_that_the_file_lacks_may_come_from_an_override():
    assert load("patch_size: 16\nembed_dim: 96\ndepth: 4\n", "image_size=224", "num_heads=3") == load(FLAT)


def test_an_override_may_be_python_data_with_its_option():
    override = Override("run.batch_size", 4, "--batch-size")
    assert load_config(write("e.yaml", FLAT), [override]).run.batch_size == 4
    bad = Override("run.batch_size", 0, "--batch-size")
    assert problems_of("e.yaml", bad) == ["--batch-size: [out-of-range] run.batch_size 1 0"]


def test_an_override_keeps_the_option_it_came_from():
    override = parse_override("depth=x", "--set")
    assert (override.key, override.where) == ("depth", "--set depth=x")
    assert problems_of("sam_vit_b", override) == ["--set depth=x: [wrong-type] depth 'x'"]


BAD_OVERRIDES = [
    ("depth", "[not-key-value] 'window_size=8'"),
    ("=3", "[not-key-value] 'window_size=8'"),
    ("depth=", "[not-key-value] 'window_size=8'"),
    ("depth= ", "[not-key-value] 'window_size=8'"),
    ("dept=3", "[unknown-key] 'dept' 'depth'"),
    ("run.batchsize=3", "[unknown-key] 'run.batchsize' 'batch_size'"),
    ("run.extend=3", "[unknown-key] 'run.extend'"),
    ("stages.0.dept=3", "[unknown-key] 'dept' 'depth'"),
    ("x.y.z=3", "[unknown-key] 'x'"),
    ("run.=2", "[unknown-key] 'run.'"),
    ("dtype=float16", "[unknown-key] 'dtype' 'run:'"),
    ("extends=sam_vit_h", "[bad-extends] extends"),
    ("stages.1.depth=3", "[not-an-index] '1' 0"),
    ("stages.-1.depth=3", "[not-an-index] '-1' 0"),
    ("stages.x.depth=3", "[not-an-index] 'x' 0"),
    ("stages.².depth=3", "[not-an-index] '²' 0"),
    ("global_attn_indexes.4=3", "[not-an-index] '4' 0 3"),
    ("stages.0.global_attn_indexes.4=3", "[not-an-index] '4' 0 3"),
    ("image_size.0=512", "[not-a-mapping] '0'"),
    ("depth.z=3", "[not-a-mapping] 'z'"),
    ("stages.0.depth.z=3", "[not-a-mapping] 'z'"),
    ("depth=x", "[wrong-type] depth 'x'"),
    ("depth=[1]", "[wrong-type] depth 1"),
    ("run=3", "[wrong-type] run 3"),
    ("stages=3", "[wrong-type] stages 3"),
    (
        "stages.0=3",
        "[wrong-type] stages.0 3",
    ),
    ("num_heads=5", "[not-divisible] num_heads 5 embed_dim 768 4 6"),
    (
        "window_size=[0, 7]",
        "[window-side-zero] window_size 0 7",
    ),
    ("run={a: 1, a: 2}", "[duplicate-key] 'a'"),
    ("depth=!!int 3", "[tag-not-allowed] '!!int'"),
    ("depth=*x", "[bad-alias] '*x'"),
]


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES)
def test_a_wrong_override_is_reported_at_the_option(override, message):
    assert problems_of("sam_vit_b", override) == [f"override {override}: {message}"]


def test_the_index_of_an_empty_list_is_rejected():
    assert problems_of("sam_vit_h_all_windowed", "global_attn_indexes.0=3") == [
        "override global_attn_indexes.0=3: [not-an-index] '0'"
    ]


def test_an_override_that_is_not_yaml_is_reported_at_the_option():
    (problem,) = problems_of("sam_vit_b", "depth=[")
    assert problem == "override depth=[: [invalid-yaml]"


def test_an_absurd_override_is_rejected():
    digits = "9" * 5000
    where = f"override stages.{'9' * 50}..."
    assert problems_of("sam_vit_b", f"stages.{digits}.depth=3") == [f"{where}: [not-an-index] '{digits}' 0"]
    deep = "run" + ".a" * 5000
    assert problems_of("sam_vit_b", f"{deep}=1") == [f"override {deep[:57]}...: [unknown-key]"]


def test_a_flat_override_of_several_stages_says_what_to_do_for_each():
    write("e.yaml", STAGES)
    assert problems_of("e.yaml", "depth=3", "image_size=512", "window_size=8") == [
        "override depth=3: [ambiguous-stage] depth 2 stages.0.depth",
        "override window_size=8: [ambiguous-stage] window_size 2 stages.0.window_size",
    ]


@pytest.mark.parametrize(
    ("stages", "message"), [("[]", "[wrong-length] stages 1"), ("3", "[wrong-type] stages 3")]
)
@pytest.mark.parametrize("override", ["depth=3", "window_size.0=3"])
def test_a_flat_override_does_not_hide_that_stages_are_wrong(stages, message, override):
    (problem,) = problems_in(f"image_size: 224\npatch_size: 16\nstages: {stages}\n", override)
    assert problem == f"e.yaml:3:9: {message}"


def test_every_wrong_override_is_reported():
    assert problems_of("sam_vit_b", "a", "stages.3.depth=1", "b=[1, *x]") == [
        "override a: [not-key-value] 'window_size=8'",
        "override stages.3.depth=1: [not-an-index] '3' 0",
        "override b=[1, *x]: [bad-alias] '*x'",
    ]


def test_a_rule_broken_by_an_override_is_reported_at_the_override():
    assert problems_in(flat_with("global_attn_indexes: [1, 3]"), "depth=3") == [
        "override depth=3: [no-such-block] global_attn_indexes 3 0 2 e.yaml 6 26"
    ]


# The config


@pytest.mark.parametrize("name", sorted(presets()))
def test_the_resolved_config_as_json_is_a_config_file_for_the_same_encoder(name):
    config = load_config(name)
    assert load(json.dumps(mapping_of(config), indent=2)) == config


def test_the_resolved_config_of_several_stages_loads_to_the_same():
    config = load(STAGES + "run: {batch_size: 2, dtype: bfloat16}\nneck: sam\nname: two\n")
    assert load(json.dumps(mapping_of(config))) == config


def test_the_resolved_config_without_its_name_takes_the_files():
    data = mapping_of(load_config("sam_vit_b"))
    del data["name"]
    assert load(json.dumps(data)) == replace(load_config("sam_vit_b"), name="e")


words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30)


@settings(
    max_examples=examples(100),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=words, description=words, ratio=st.floats(0.02, 1024), ascii_only=st.booleans())
def test_any_printable_name_and_any_ratio_survive_the_way_through_json(name, description, ratio, ascii_only):
    config = load_config({**MAPPING, "name": name, "description": description, "mlp_ratio": ratio})
    assert (config.name, config.description, config.stages[0].mlp_ratio) == (name, description, ratio)
    plane_0 = (
        max(name + description, default="") <= "\uffff"
    )  # JSON escapes others as surrogates, which YAML has not
    assert load(json.dumps(mapping_of(config), ensure_ascii=ascii_only and plane_0)) == config


def test_a_config_is_frozen():
    config = load_config("sam_vit_b")
    for part, key in ((config, "patch_size"), (config.stages[0], "depth"), (config.run, "batch_size")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, key, 1)
    assert config == load_config("sam_vit_b")


def test_equal_configs_are_one_key():
    assert len({load(FLAT), load(FLAT), load(FLAT, "depth=5")}) == 2


# What is wrong, and where


MISSING = {
    "image_size": "1:1: [missing-key] image_size",
    "patch_size": "1:1: [missing-key] patch_size",
    "embed_dim": "1:1: [missing-key] embed_dim",
    "depth": "1:1: [missing-key] depth",
    "num_heads": "1:1: [missing-key] num_heads",
}


@pytest.mark.parametrize("key", MISSING)
def test_a_missing_key_is_reported_with_an_example(key):
    text = "".join(line for line in FLAT.splitlines(keepends=True) if not line.startswith(key))
    assert problems_in(text) == [f"e.yaml:{MISSING[key]}"]


def test_every_missing_key_is_reported():
    assert problems_in("{}") == [f"e.yaml:{message}" for message in MISSING.values()]


def test_keys_missing_in_a_stage_are_named_with_the_stage():
    text = (
        "image_size: 64\npatch_size: 16\nstages:\n- {embed_dim: 96, depth: 4, num_heads: 3}\n- {depth: 1}\n"
    )
    assert problems_in(text) == [
        "e.yaml:5:3: [missing-key] stages.1.embed_dim",
        "e.yaml:5:3: [missing-key] stages.1.num_heads",
    ]


STAGE = "{embed_dim: 8, depth: 1, num_heads: 2}"
STAGES_EXAMPLE = "[{embed_dim: 768, depth: 12, num_heads: 12}]"
WRONG = [
    # unknown keys
    ("image_sze: 3", "6:1: [unknown-key] 'image_sze' 'image_size'"),
    ("dept: 3", "6:1: [unknown-key] 'dept' 'depth'"),
    ("extend: sam_vit_b", "6:1: [unknown-key] 'extend' 'extends'"),
    ("Depth: 3", "6:1: [unknown-key] 'Depth' 'depth'"),
    ("zzz: 3", "6:1: [unknown-key] 'zzz'"),
    ("~: 3", "6:1: [unknown-key] '~'"),
    ("12: 3", "6:1: [unknown-key] '12'"),
    ('"\\e[31m\\n": 3', "6:1: [unknown-key] '\\x1b[31m\\n'"),
    ("batch_size: 3", "6:1: [unknown-key] 'batch_size' 'run:'"),
    ("run: {batchsize: 2}", "6:7: [unknown-key] 'run.batchsize' 'batch_size'"),
    ("run: {depth: 2}", "6:7: [unknown-key] 'run.depth' 'stages:'"),
    ("run: {neck: sam}", "6:7: [unknown-key] 'run.neck'"),
    # types
    ("depth: twelve", "5:8: [wrong-type] depth 'twelve'"),
    ("depth: '12'", "5:8: [wrong-type] depth '12'"),
    ("depth: 12.0", "5:8: [wrong-type] depth 12.0"),
    ("depth: 12.5", "5:8: [wrong-type] depth 12.5"),
    ("depth: true", "5:8: [wrong-type] depth true"),
    ("depth:", "5:7: [wrong-type] depth null"),
    ("depth: [12]", "5:8: [wrong-type] depth 12"),
    ("depth: {a: 12}", "5:8: [wrong-type] depth 12"),
    ("depth: 0b11", "5:8: [wrong-type] depth '0b11'"),
    ("depth: 1_000", "5:8: [wrong-type] depth '1_000'"),
    ("patch_size: [16, 16]", "5:13: [wrong-type] patch_size 16"),
    ("image_size: 1024x", "5:13: [not-a-pair] image_size '1024x'"),
    ("mlp_ratio: four", "6:12: [wrong-type] mlp_ratio 'four'"),
    ("mlp_ratio: true", "6:12: [wrong-type] mlp_ratio true"),
    ("qkv_bias: yes", "6:11: [wrong-type] qkv_bias 'yes'"),
    ("qkv_bias: 1", "6:11: [wrong-type] qkv_bias 1"),
    ("name: 12", "6:7: [wrong-type] name 12"),
    ("description:", "6:13: [wrong-type] description null"),
    ("neck: no", f"6:7: [unknown-value] neck {A_NECK} 'no' 'none'"),
    ("neck: ~", f"6:7: [unknown-value] neck {A_NECK} null"),
    ("pos_embed: xyz", f"6:12: [unknown-value] pos_embed {A_POS_EMBED} 'xyz'"),
    (
        "rel_pos: decompose",
        "6:10: [unknown-value] rel_pos 'none' 'decomposed' 'joint' 'decompose'",
    ),
    (
        "rel_pos: [joint]",
        "6:10: [unknown-value] rel_pos 'none' 'decomposed' 'joint'",
    ),
    (
        "run: {dtype: float61}",
        "6:14: [unknown-value] run.dtype 'float32' 'bfloat16' 'float16' 'float61'",
    ),
    ("run: 3", "6:6: [wrong-type] run 3"),
    ("run:", "6:5: [wrong-type] run null"),
    (
        "run: [batch_size]",
        "6:6: [wrong-type] run 'batch_size'",
    ),
    ("global_attn_indexes: 3.5", "6:22: [wrong-type] global_attn_indexes 3.5"),
    ("global_attn_indexes: [1, a]", "6:26: [wrong-type] global_attn_indexes 'a'"),
    (
        "global_attn_indexes: [1, 2.0]",
        "6:26: [wrong-type] global_attn_indexes 2.0",
    ),
    ("window_size: a", "6:14: [not-a-pair] window_size 'a'"),
    ("window_size:", "6:13: [wrong-type] window_size null"),
    ("window_size: [7, 7.5]", "6:18: [wrong-type] window_size 7.5"),
    ("window_size: []", "6:14: [not-a-pair] window_size"),
    ("window_size: [7]", "6:14: [not-a-pair] window_size 7"),
    ("window_size: [7, 7, 7]", "6:14: [axes-differ] window_size 3 7 image_size 224 2"),
    ("window_size: [7, 7, 7, 7]", "6:14: [not-a-pair] window_size 7"),
    ("image_size: [7]", "5:13: [not-a-pair] image_size 7"),
    (
        "name: [a, b, c, d, e, f]",
        "6:7: [wrong-type] name 'a' 'b' 'c' 'd' 'e'",
    ),
    ("name: [a, b, c, d, e]", "6:7: [wrong-type] name 'a' 'b' 'c' 'd' 'e'"),
    (f"depth: {'a' * 58}", f"5:8: [wrong-type] depth '{'a' * 58}'"),
    (f"depth: {'a' * 59}", f"5:8: [wrong-type] depth '{'a' * 56}..."),
    (f"depth: {'a' * 80}", f"5:8: [wrong-type] depth '{'a' * 56}..."),
    # ranges
    ("depth: 0", "5:8: [out-of-range] depth 1 0"),
    ("depth: -3", "5:8: [out-of-range] depth 1 -3"),
    ("depth: 1001", "5:8: [out-of-range] depth 1,000 1001"),
    ("depth: .inf", "5:8: [wrong-type] depth"),
    ("depth: -.inf", "5:8: [wrong-type] depth -.inf"),
    ("depth: .nan", "5:8: [wrong-type] depth"),
    (f"depth: 1{'0' * 99}", f"5:8: [out-of-range] depth 1,000 1{'0' * 56}..."),
    (f"depth: 1{'0' * 999}", "5:8: [wrong-type] depth"),
    ("image_size: 0", "5:13: [out-of-range] image_size 1 0"),
    ("image_size: [64, -1]", "5:18: [out-of-range] image_size 1 -1"),
    ("image_size: 1e7", "5:13: [out-of-range] image_size 1,048,576 10000000"),
    ("image_size: .inf", "5:13: [wrong-type] image_size"),
    ("patch_size: 0", "5:13: [out-of-range] patch_size 1 0"),
    ("patch_size: .nan", "5:13: [wrong-type] patch_size"),
    ("embed_dim: 0", "5:12: [out-of-range] embed_dim 1 0"),
    ("embed_dim: 1048577", "5:12: [out-of-range] embed_dim 1,048,576 1048577"),
    ("num_heads: 0", "5:12: [out-of-range] num_heads 1 0"),
    ("num_heads: -1", "5:12: [out-of-range] num_heads 1 -1"),
    ("in_chans: 0", "6:11: [out-of-range] in_chans 1 0"),
    ("in_chans: 1e9", "6:11: [out-of-range] in_chans 1,048,576 1000000000"),
    ("out_chans: -256", "6:12: [out-of-range] out_chans 1 -256"),
    ("mlp_ratio: 0", "6:12: [out-of-range] mlp_ratio 0"),
    ("mlp_ratio: -1.5", "6:12: [out-of-range] mlp_ratio 0 -1.5"),
    ("mlp_ratio: 1025", "6:12: [out-of-range] mlp_ratio 1,024 1025"),
    ("mlp_ratio: .nan", "6:12: [out-of-range] mlp_ratio"),
    ("mlp_ratio: .inf", "6:12: [out-of-range] mlp_ratio"),
    ("mlp_ratio: -.inf", "6:12: [out-of-range] mlp_ratio -.inf"),
    ("mlp_ratio: 1e999", "6:12: [out-of-range] mlp_ratio"),
    ("mlp_ratio: 0.01", "6:12: [no-channels-left] mlp_ratio 0.01 96"),
    ("mlp_ratio: 1e-300", "6:12: [no-channels-left] mlp_ratio 300 96"),
    ("window_size: -1", "6:14: [out-of-range] window_size 0 -1"),
    ("window_size: 2000000", "6:14: [out-of-range] window_size 1,048,576 2000000"),
    ("run: {batch_size: 0}", "6:19: [out-of-range] run.batch_size 1 0"),
    ("run: {batch_size: 1e7}", "6:19: [out-of-range] run.batch_size 1,048,576 10000000"),
    ("global_attn_indexes: [-1]", "6:23: [out-of-range] global_attn_indexes 0 -1"),
    # rules between keys
    ("image_size: 15", "5:13: [image-smaller-than-patch] image_size 15 16"),
    ("image_size: [64, 15]", "5:13: [image-smaller-than-patch] image_size 64 15 16"),
    ("patch_size: 225", "1:13: [image-smaller-than-patch] image_size 224 225"),
    (
        "window_size: [0, 7]",
        "6:14: [window-side-zero] window_size 0 7",
    ),
    (
        "window_size: [7, 0]",
        "6:14: [window-side-zero] window_size 7 0",
    ),
    ("global_attn_indexes: [4]", "6:23: [no-such-block] global_attn_indexes 4 0 3"),
    ("global_attn_indexes: [1, 3, 1]", "6:29: [duplicate-block] global_attn_indexes 1"),
    # stages
    ("stages: []", "3:9: [wrong-length] stages 1 []"),
    ("stages: 3", "3:9: [wrong-type] stages 3"),
    ("stages:", "3:8: [wrong-type] stages null"),
    ("stages: {a: 1}", "3:9: [wrong-type] stages {a: 1}"),
    ("stages: [3]", "3:10: [wrong-type] stages.0 3"),
    (
        f"stages: [{f'{STAGE}, ' * 65}]",
        "3:9: [wrong-length] stages 64",
    ),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line[:40] for line, _ in WRONG])
def test_each_wrong_key_gives_one_message_with_its_place(line, message):
    text = "image_size: 224\npatch_size: 16\n" + line if line.startswith("stages") else flat_with(line)
    assert problems_in(text) == [f"e.yaml:{message}"]


@pytest.mark.parametrize(
    ("width", "heads", "choices"),
    [
        (768, 10, "8 or 12"),
        (768, 11, "8 or 12"),
        (1280, 12, "8 or 10"),
        (7, 3, "1 or 7"),
        (96, 100, "48 or 96"),
        (1, 2, "1"),
        (65_537, 2, "1 or 65537"),
        (100_000, 3, "2 or 4"),
        (1_048_576, 1_000_000, "524288 or 1048576"),
    ],
)
def test_heads_that_do_not_divide_the_width_come_with_the_nearest_that_do(width, heads, choices):
    text = f"image_size: 224\npatch_size: 16\nembed_dim: {width}\ndepth: 4\nnum_heads: {heads}\n"
    assert problems_in(text) == [f"e.yaml:5:12: [not-divisible] {heads} {width} {choices.replace(' or', '')}"]


NO_HEADS = FLAT.removesuffix("num_heads: 3\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "num_heads: 8\nrun: {attention: sdpa, dtype: bfloat16}",
            ("6:18: [kernel-head-width] run.attention 8 12 embed_dim 96 num_heads"),
        ),
        (
            "num_heads: 8\nrun: {attention: sdpa, autocast: float16}",
            ("6:18: [kernel-head-width] run.attention 8 12 embed_dim 96 num_heads"),
        ),
        (
            "num_heads: 16\nrun:\n  attention: fused",
            ("7:14: [kernel-head-width] run.attention 4 6 embed_dim 96 num_heads 16"),
        ),
        (
            "num_heads: 3\nrel_pos: joint\nrun: {attention: fused}",
            "7:18: [kernel-rel-pos] run.attention",
        ),
        (
            "num_heads: 3\nrun: {dtype: bfloat16, autocast: float16}",
            "6:34: [autocast-needs-float32] run.autocast",
        ),
        (
            "num_heads: 3\nrun: {autocast: bfloat16, dtype: bfloat16}",
            "6:17: [autocast-needs-float32] run.autocast",
        ),
        (
            "num_heads: 3\nrun: {attention: quick}",
            "6:18: [unknown-value] run.attention 'eager' 'sdpa' 'fused' 'quick'",
        ),
    ],
)
def test_a_kernel_or_a_type_that_cannot_be_run_is_reported_at_its_place(lines, message):
    assert problems_in(f"{NO_HEADS}{lines}\n") == [f"e.yaml:{message}"]


def test_each_stage_that_a_kernel_does_not_take_is_reported():
    text = (
        STAGES.replace("num_heads: 6", "num_heads: 6, rel_pos: joint")
        + "run: {attention: fused, dtype: float16}\n"
    )
    channels = text.replace("num_heads: 3", "num_heads: 8")
    joint = "[kernel-rel-pos] run.attention"
    assert problems_in(text) == [f"e.yaml:6:18: {joint}"]
    assert problems_in(channels) == [
        "e.yaml:6:18: [kernel-head-width] fused float16 8 12",
        f"e.yaml:6:18: {joint}",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "num_heads: 8\nrun: {attention: sdpa}",  # 12 channels, a multiple of 4
        "num_heads: 12\nrun: {attention: fused, dtype: bfloat16}",  # 8 channels
        "num_heads: 32\nrun: {attention: eager, dtype: float16}",  # 3 channels
        "num_heads: 3\nrel_pos: joint\nrun: {attention: sdpa}",
        "num_heads: 3\nrun: {autocast: float16, dtype: float32}",
        "num_heads: 3\nrun: {autocast: none, dtype: float16}",
    ],
)
def test_kernels_and_types_that_can_be_run_load(lines):
    assert load(f"{NO_HEADS}{lines}\n").stages


def test_an_index_in_an_encoder_of_one_block_gets_the_one():
    assert problems_in(FLAT.replace("depth: 4", "depth: 1") + "global_attn_indexes: [1]\n") == [
        "e.yaml:6:23: [no-such-block] global_attn_indexes 1 0"
    ]


def test_problems_in_stages_are_named_with_the_stage():
    text = """\
image_size: 224
patch_size: 16
stages:
- {embed_dim: 96, depth: 4, num_heads: 3, global_attn_indexes: [4, 1, 1]}
- embed_dim: 64
  depth: 1
  num_heads: 5
  global_attn_indexes: [4, 3]
  window_size: [0, 1]
- embed_dim: 64
  depht: 2
  num_heads: 0
  image_size: 3
  run: {}
  global_attn_indexes: [99]
"""
    assert problems_in(text) == [
        "e.yaml:4:65: [no-such-block] global_attn_indexes 4 0 3",
        "e.yaml:4:71: [duplicate-block] global_attn_indexes 1",
        f"e.yaml:5:14: [width-changes] stages.1.embed_dim 64 0 96 vit {TO_A_GRID}",
        "e.yaml:7:14: [not-divisible] num_heads 5 embed_dim 64 2 4",
        "e.yaml:8:28: [no-such-block] global_attn_indexes 3 1 4",
        "e.yaml:9:16: [window-side-zero] window_size 0 1",
        "e.yaml:10:3: [missing-key] stages.2.depth",
        "e.yaml:11:3: [unknown-key] 'stages.2.depht' 'depth'",
        "e.yaml:12:14: [out-of-range] stages.2.num_heads 1 0",
        "e.yaml:13:3: [unknown-key] 'stages.2.image_size'",
        "e.yaml:14:3: [unknown-key] 'stages.2.run'",
    ]


def test_each_stage_is_held_to_the_width_of_the_one_before_it():
    stage = "{{embed_dim: {}, depth: 1, num_heads: 2}}"
    stages = ", ".join(map(stage.format, (64, 64, 96, 64)))
    assert problems_in(f"image_size: 224\npatch_size: 16\nstages: [{stages}]\n") == [
        f"e.yaml:3:104: [width-changes] stages.2.embed_dim 96 1 64 {TO_A_GRID}",
        f"e.yaml:3:145: [width-changes] stages.3.embed_dim 64 2 96 {TO_A_GRID}",
    ]


NOTHING = "window_size num_heads mlp_ratio"
BAD_OF_BLOCKS = {
    "[{blocks: [1, 4], num_heads: 2}]": "6:26: [no-such-block] overrides 4 0 3",
    "[{blocks: [1, 1], num_heads: 2}]": "6:26: [duplicate-block] overrides 1",
    "[{blocks: [1], num_heads: 5}]": "6:38: [not-divisible] num_heads 5 embed_dim 96 4 6",
    "[{blocks: [1], num_heads: 2}, {blocks: [0, 1], num_heads: 4}]": "6:55: [duplicate-override] overrides 1 num_heads",
    "[{blocks: [3], window_size: 2}]": "6:23: [override-of-global-block] overrides 3 global_attn_indexes",
    "[{blocks: [1], window_size: [0, 7]}]": "6:40: [window-side-zero] window_size 0 7",
    "[{blocks: [1], mlp_ratio: 0.01}]": "6:38: [no-channels-left] mlp_ratio 0.01 96",
    "[{blocks: [1, 2]}]": f"6:13: [override-without-effect] 1 2 {NOTHING}",
    "[{blocks: [1], num_heads: null}]": f"6:13: [override-without-effect] 1 {NOTHING}",
    "[{blocks: [], num_heads: 2}]": "6:22: [override-without-effect] overrides",
    "[{num_heads: 2}]": "6:13: [missing-key] overrides.0.blocks",
    "[{blocks: all, num_heads: 2}]": "6:22: [wrong-type] overrides.0.blocks 'all'",
    "[{blocks: [1], heads: 2}]": "6:27: [unknown-key] 'overrides.0.heads' 'num_heads'",
    "[3]": "6:13: [wrong-type] overrides 3",
}


@pytest.mark.parametrize("overrides", BAD_OF_BLOCKS)
def test_what_is_wrong_with_what_some_blocks_have_is_reported_with_its_place(overrides):
    text = f"{FLAT}overrides: {overrides}\nwindow_size: 7\nglobal_attn_indexes: [3]\n"
    assert problems_in(text) == [f"e.yaml:{BAD_OF_BLOCKS[overrides]}"]


def test_overrides_of_different_keys_may_name_one_block():
    config = load(
        f"{FLAT}overrides: [{{blocks: [1], num_heads: 2}}, {{blocks: [1, 3], mlp_ratio: 2, window_size: 0}}]\n"
    )
    of_blocks = [(layer.stage.num_heads, layer.stage.mlp_ratio) for layer in config.layers]
    assert of_blocks == [(3, 4.0), (2, 2.0), (3, 4.0), (3, 2.0)]


def test_a_block_may_be_told_twice_that_it_is_global():
    text = f"{FLAT}window_size: 7\nglobal_attn_indexes: [3]\noverrides: [{{blocks: [3], window_size: 0}}]\n"
    assert [layer.is_global for layer in load(text).layers] == [False, False, False, True]


def test_a_kernel_is_asked_of_the_heads_that_some_blocks_have():
    text = FLAT.replace("num_heads: 3", "num_heads: 12") + "overrides: [{blocks: [1], num_heads: 32}]\n"
    assert load(text).run.attention == "eager"
    (problem,) = problems_in(text, "run.attention=sdpa")
    assert problem == (
        "override run.attention=sdpa: [kernel-head-width] run.attention 4 3 embed_dim 96 num_heads 32"
    )


def test_a_rule_waits_for_the_keys_it_needs():
    assert problems_in(FLAT.replace("96", "0") + "global_attn_indexes: [9]\n") == [
        "e.yaml:3:12: [out-of-range] embed_dim 1 0",
        "e.yaml:6:23: [no-such-block] global_attn_indexes 9 4 0 3",
    ]
    assert problems_in(FLAT.replace("depth: 4", "depth: 0") + "global_attn_indexes: [9]\n") == [
        "e.yaml:4:8: [out-of-range] depth 1 0"
    ]


def test_all_problems_of_a_file_are_reported_at_once_in_its_order():
    text = """\
description: 12
image_size: [8, .inf]
window_size: [0, 7]
patch_size: 16
embed_dim: 100
num_heads: 7
mlp_ratio: -4
qkv_bias: yes
run:
  batch_size: 0
  dtpye: float16
neck: [sam]
rel_pos: decompsed
global_attn_indexes: [1, 12, x]
in_chans: 1e9
colour: red
depth: 1001
"""
    assert problems_in(text) == [
        "e.yaml:1:14: [wrong-type] description 12",
        "e.yaml:2:17: [wrong-type] image_size",
        "e.yaml:3:14: [window-side-zero] window_size 0 7",
        "e.yaml:6:12: [not-divisible] num_heads 7 embed_dim 100 4 5",
        "e.yaml:7:12: [out-of-range] mlp_ratio 0 -4",
        "e.yaml:8:11: [wrong-type] qkv_bias 'yes'",
        "e.yaml:10:15: [out-of-range] run.batch_size 1 0",
        "e.yaml:11:3: [unknown-key] 'run.dtpye' 'dtype'",
        f"e.yaml:12:7: [unknown-value] neck {A_NECK} 'sam'",
        "e.yaml:13:10: [unknown-value] rel_pos 'none' 'decomposed' 'joint' 'decompsed'",
        "e.yaml:14:30: [wrong-type] global_attn_indexes 'x'",
        "e.yaml:15:11: [out-of-range] in_chans 1,048,576 1000000000",
        "e.yaml:16:1: [unknown-key] 'colour'",
        "e.yaml:17:8: [out-of-range] depth 1,000 1001",
    ]


def test_all_syntax_level_problems_of_a_file_are_reported_at_once():
    assert problems_in("depth: 1\ndepth: 2\n<<: {}\nneck: !!str sam\n") == [
        "e.yaml:2:1: [duplicate-key] 'depth' e.yaml 1",
        "e.yaml:3:1: [merge-key] 1.2 'extends:'",
        "e.yaml:4:7: [tag-not-allowed] '!!str'",
    ]


def test_an_aliased_value_is_reported_where_it_was_written():
    assert problems_in("image_size: &n 0\npatch_size: *n\nembed_dim: 96\ndepth: 4\nnum_heads: 3\n") == [
        "e.yaml:1:13: [out-of-range] image_size 1 0",
        "e.yaml:1:13: [out-of-range] patch_size 1 0",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": True}, "[wrong-type] depth true"),
        ({"depth": 4.0}, "[wrong-type] depth 4.0"),
        ({"depth": float("nan")}, "[wrong-type] depth"),
        ({"depth": b"4"}, "[wrong-type] depth"),
        ({"depth": 10**5000}, "[out-of-range] depth 1,000"),
        ({"dept": 4}, "[unknown-key] 'dept' 'depth'"),
        ({7: 4}, "[unknown-key] '7'"),
        ({"image_size": {224}}, "[wrong-type] image_size 224"),
        ({"run": None}, "[wrong-type] run null"),
        (
            {"rel_pos": "\ud800"},
            "[not-utf-8] rel_pos '\\ud800'",
        ),
        ({"\ud800": 1}, "[not-utf-8] '\\ud800'"),
    ],
)
def test_a_wrong_mapping_is_reported_without_a_place(change, message):
    assert problems_of({**MAPPING, **change}) == [f"config: {message}"]


# Files that are none


def test_a_missing_file_comes_with_the_nearest_name():
    write("dir/encoder.yaml", FLAT)
    write("encoder.yml", FLAT)
    no = "samattn: [file-not-found]"
    assert problems_of("dir/encodr.yaml") == [f"{no} 'dir/encodr.yaml' 'dir/encoder.yaml'"]
    assert problems_of("encoder.yaml") == [f"{no} 'encoder.yaml' 'encoder.yml'"]
    assert problems_of("sam_vit_hh") == [f"{no} 'sam_vit_hh' 'sam_vit_h'"]
    assert problems_of("no/such/folder.yaml") == [f"{no} 'no/such/folder.yaml'"]
    assert problems_of("\x1b[2J") == [rf"{no} '\x1b[2J'"]


def test_a_directory_is_not_a_config():
    write("dir/encoder.yaml", FLAT)
    assert problems_of("dir") == ["samattn: [is-a-directory] 'dir'"]
    assert problems_in("extends: dir\n") == ["e.yaml:1:10: [is-a-directory] 'dir'"]


def test_a_path_below_a_file_cannot_be_read():
    write("e.yaml", FLAT)
    reason = os.strerror(errno.ENOTDIR)
    assert problems_of("e.yaml/f.yaml") == [f"samattn: [cannot-read] 'e.yaml/f.yaml' {reason}"]


def test_a_dangling_link_is_reported_as_one(folder):
    (folder / "link.yaml").symlink_to("gone.yaml")
    said = "[cannot-read] 'link.yaml' broken symbolic link"
    assert problems_of("link.yaml") == [f"samattn: {said}"]
    write("e.yaml", "extends: link.yaml\n")
    assert problems_of("e.yaml") == [f"e.yaml:1:10: {said}"]


def test_a_link_to_itself_cannot_be_read(folder):
    (folder / "link.yaml").symlink_to("link.yaml")
    reason = os.strerror(errno.ELOOP)
    assert problems_of("link.yaml") == [f"samattn: [cannot-read] 'link.yaml' {reason}"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("locked", ["dir/e.yaml", "dir"])
def test_a_file_without_permission_cannot_be_read(locked):
    write("dir/e.yaml", FLAT)
    Path(locked).chmod(0)
    try:
        reason = os.strerror(errno.EACCES)
        assert problems_of("dir/e.yaml") == [f"samattn: [cannot-read] 'dir/e.yaml' {reason}"]
    finally:
        Path(locked).chmod(0o700)


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 5000 + "a"])
def test_a_name_that_is_too_long_cannot_be_read(name):
    reason = os.strerror(errno.ENAMETOOLONG)
    assert problems_of(name) == [f"samattn: [cannot-read] '{name}' {reason}"]
    assert problems_in(f"extends: '{name}'\n") == [f"e.yaml:1:10: [cannot-read] '{name}' {reason}"]


def test_a_path_with_a_nul_cannot_be_read():
    assert problems_of("a\0b") == ["samattn: [cannot-read] 'a\\x00b'"]


def test_a_path_that_is_not_text_cannot_be_read():
    (problem,) = problems_of("a\ud800")
    assert problem == "samattn: [cannot-read] 'a\\ud800'"


@pytest.mark.parametrize(
    "data", [b"\x7fELF\0\0", FLAT.encode("utf-16"), FLAT.encode() + b"\0", b"\0" * (MAX_BYTES + 9)]
)
def test_a_binary_file_is_not_a_config(data):
    assert problems_in(data) == ["e.yaml: [binary-file]"]


def test_control_characters_are_not_a_config():
    assert problems_in(FLAT + "name: '\x07'\n") == ["e.yaml: [binary-file]"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_that_is_not_utf_8_is_reported_at_its_place(mark):
    assert problems_in(mark + "image_size: 224\n# é caf".encode() + b"\xe9\npatch_size: 16\n") == [
        "e.yaml:2:8: [not-utf-8] 8"
    ]


def test_a_file_of_exactly_the_largest_size_loads():
    assert load(FLAT + "#" * (MAX_BYTES - len(FLAT))) == load(FLAT)


@pytest.mark.parametrize("filler", [".", "é", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_a_file_that_is_too_large_is_reported_as_such(filler, offset):
    assert problems_in("#" + "." * offset + filler * MAX_BYTES) == ["e.yaml: [file-too-large] 1,048,576"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_not_a_config(text):
    assert problems_in(text) == ["e.yaml: [empty-file] embed_dim 768"]


@pytest.mark.parametrize(
    ("text", "place"), [("- a\n", "1:1"), ("\n  [a]", "2:3"), ("just words", "1:1"), ("---\n~", "2:1")]
)
def test_something_else_than_a_mapping_at_the_top_is_not_a_config(text, place):
    assert problems_in(text) == [f"e.yaml:{place}: [not-a-mapping] config embed_dim"]


def test_a_file_whose_name_is_not_text_still_gives_a_config_that_can_be_written():
    name = os.fsdecode(b"caf\xe9.yaml")
    try:
        write(name, FLAT)
    except OSError:
        pytest.skip("this file system takes only names that are text")
    assert load_config(name).name == "caf?"


def test_an_empty_name_is_not_a_directory():
    assert problems_of("") == ["samattn: [empty-name]"]


@pytest.mark.parametrize("preset", ["swin_t", "sam_vit_b"])
def test_a_document_is_the_same_after_it_was_read_with_overrides(preset):
    before = load_config(preset)
    changed = load_config(preset, ["run.batch_size=7", "in_chans=4", "stages.0.mlp_ratio=2"])
    assert (changed.run.batch_size, changed.in_chans, changed.stages[0].mlp_ratio) == (7, 4, 2)
    assert load_config(preset) == before
