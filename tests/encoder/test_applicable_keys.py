"""A key that nothing reads is refused wherever it is written, at its default too; what a word replaces goes with it."""

from dataclasses import fields, replace

import pytest

from samattn_cli.encoder.applicable_keys import RUN_READERS, encoder_readers, mapping_of, stage_readers
from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.model import EncoderConfig, RunConfig, StageConfig
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import ConfigError
from samattn_cli.files.load import load_config
from tests.support.problems import messages_of, problems_of

DEFAULTS = {field.name: field.default for model in (EncoderConfig, StageConfig) for field in fields(model)}
LORA = "[unused-key] block vit lora_rank sam_lora"
BARE = {"image_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2}


def problem_of(source, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    (problem,) = problems_of(caught)
    return problem


def written(tmp_path, text, name="own.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("rank", [4, 8])  # 4 is its default
def test_a_rank_for_plain_sam_is_refused_from_the_command_line(rank):
    said = f"override lora_rank={rank}: [unused-key] block vit lora_rank sam_lora"
    assert problem_of("sam_vit_h", f"lora_rank={rank}") == said


def test_a_key_next_to_extends_is_refused_where_it_stands(tmp_path):
    path = written(tmp_path, "extends: sam_vit_h\nadapter_ratio: 0.25\n")
    said = "[unused-key] block vit adapter_ratio sam_adapter"
    assert problem_of(path) == f"{path}:2:16: {said}"


def unread():
    """Every key that some words do not read, at its default, with the first word that does not read it."""
    for readers, of_stage in ((stage_readers(), True), (encoder_readers(), False)):
        for chooser, words in readers.items():
            for key in sorted(frozenset().union(*words.values())):
                word = next(word for word, keys in words.items() if key not in keys)
                if chooser != "rel_pos" and DEFAULTS[key] is not None:
                    yield chooser, word, key, of_stage


@pytest.mark.parametrize(("chooser", "word", "key", "of_stage"), list(unread()))
def test_every_key_is_refused_at_its_default_where_nothing_reads_it(chooser, word, key, of_stage):
    value = list(DEFAULTS[key]) if isinstance(DEFAULTS[key], tuple) else DEFAULTS[key]
    shape = {name: BARE[name] for name in ("embed_dim", "depth", "num_heads")}
    stage = {**shape, **({chooser: word, key: value} if of_stage else {})}
    keys = {"image_size": 64, "patch_size": 16, "stages": [stage]} | (
        {} if of_stage else {chooser: word, key: value}
    )
    with pytest.raises(ConfigError) as caught:
        load_config(keys)
    assert f"[unused-key] {chooser} {word} {key}" in messages_of(caught)


@pytest.mark.parametrize("key", ["stages.1.q_stride=1", "stages.1.rel_pos=none"])
def test_a_key_of_one_of_several_stages_is_refused(key):
    assert problem_of("swin_t", key) == f"override {key}: [unused-key] swin"


def test_null_is_as_if_a_key_were_left_out():
    assert load_config("swin_t", "pretrain_image_size=null") == load_config("swin_t")


REPLACED = [  # what is inherited, the word laid over it, and what the encoder then is
    ({"block": "sam_lora", "lora_rank": 8}, "block=vit", {"block": "vit"}),
    ({"block": "sam_adapter", "adapter_ratio": 0.5, "rel_pos": "decomposed"}, "block=vit", {"rel_pos": "decomposed"}),
    ({"rel_pos": "joint", "rel_pos_grid": 7}, "block=swin", {"block": "swin"}),
    ({"rel_pos": "joint", "rel_pos_grid": 7}, "rel_pos=none", {}),
    ({"neck": "sam", "out_chans": 8}, "neck=none", {}),
    ({"neck": "sam", "out_chans": 8}, "neck=simple_fpn", {"neck": "simple_fpn", "out_chans": 8}),
    ({"pos_embed": "tiled", "pretrain_image_size": 32}, "pos_embed=none", {"pos_embed": "none"}),
]  # fmt: skip


@pytest.mark.parametrize(("inherited", "word", "left"), REPLACED)
def test_a_word_takes_the_keys_with_it_that_only_the_word_it_replaces_reads(tmp_path, inherited, word, left):
    expected = load_config({**BARE, **left, "name": "own"})
    base = "".join(f"{key}: {value}\n" for key, value in {**BARE, **inherited}.items())
    written(tmp_path, base, "base.yaml")
    path = written(tmp_path, f"extends: ./base.yaml\n{word.replace('=', ': ')}\n")
    assert load_config(path) == expected
    assert load_config({**BARE, **inherited, "name": "own"}, word) == expected


def test_a_word_for_one_of_several_stages_takes_the_keys_of_that_stage_with_it():
    stage = {"embed_dim": 16, "depth": 1, "num_heads": 2, "block": "sam_lora", "lora_rank": 8}
    keys = {"image_size": 64, "patch_size": 16, "stages": [stage, stage]}
    first, second = load_config(keys, "stages.1.block=vit").stages
    assert (first.block, first.lora_rank, second.block, second.lora_rank) == ("sam_lora", 8, "vit", 4)


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_next_to_the_word_that_does_not_read_it_is_refused_in_either_order(tmp_path, order):
    lines = ["block: vit", "lora_rank: 4"][::order]
    path = written(tmp_path, "\n".join(["extends: sam_vit_b_lora", "run: {trains: all}", *lines, ""]))
    line = 3 + lines.index("lora_rank: 4")
    assert problem_of(path) == f"{path}:{line}:12: {LORA}"
    overrides = ["run.trains=all", *(line.replace(": ", "=") for line in lines)]
    assert problem_of("sam_vit_b_lora", *overrides) == f"override lora_rank=4: {LORA}"


def test_a_word_that_changes_nothing_hides_no_key_below_it():
    assert problem_of({**BARE, "lora_rank": 4}, "block=vit") == f"config: {LORA}"


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_config_as_a_mapping_holds_what_applies_and_loads_to_the_same(name):
    config = load_config(name)
    keys = mapping_of(config)
    assert load_config(keys) == config
    assert ("out_chans" in keys) == (
        config.neck not in {"none", "mae_pred", "hiera_pred", "pixel_shuffle", "swin_unetr"}
    )
    assert all(("lora_rank" in stage) == (stage["block"] == "sam_lora") for stage in keys["stages"])


def unread_in_runs():
    """Every key of a run that one mode does not read, with that mode."""
    modes = RUN_READERS["mode"]
    return [(mode, key) for mode in modes for key in sorted(frozenset().union(*modes.values()) - modes[mode])]


FSDP = ["run.parallel=fsdp2", "run.gpus=8"]
NEEDED_BY = {
    "gradient_as_bucket_view": ["run.parallel=ddp"],
    "gpus": ["run.parallel=ddp"],
    "grad_scaler": ["run.autocast=float16"],
    **dict.fromkeys(("reshard_after_forward", "param_dtype", "reduce_dtype", "cpu_offload"), FSDP),
}
VALUES = {
    "step": "first",
    "zero_grad": "after_step",
    "accumulate": 2,
    "parallel": "ddp",
    "gpus": 2,
    "reshard_after_forward": 4,
    "param_dtype": "bfloat16",
    "reduce_dtype": "float32",
}
"""A value of each key of a run that is not a flag."""


@pytest.mark.parametrize(("mode", "key"), unread_in_runs())
def test_a_key_of_the_other_mode_is_refused_and_goes_with_its_mode(tmp_path, mode, key):
    (other,) = {"inference", "training"} - {mode}
    default = getattr(RunConfig(), key)
    value = VALUES.get(key, True)
    written_so = "true" if value is True else value
    path = written(tmp_path, f"extends: sam_vit_b\nrun:\n  mode: {mode}\n  {key}: {written_so}\n")
    at = len(f"  {key}: ") + 1
    assert problem_of(path) == f"{path}:4:{at}: [unused-key] mode {mode} {key} {other}"
    path.write_text(path.read_text().replace(f"mode: {mode}", f"mode: {other}"))
    kept = load_config(path, NEEDED_BY.get(key, []))
    gone = load_config(path, [f"run.mode={mode}"])
    assert (getattr(kept.run, key), getattr(gone.run, key)) == (value, default)
    assert key in mapping_of(kept)["run"]
    assert key not in mapping_of(gone)["run"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["run.mode=training", "run.gradient_as_bucket_view=true"],
            "override run.gradient_as_bucket_view=true: [unused-key] parallel none gradient_as_bucket_view parallel: ddp zero1",
        ),
        (
            ["run.mode=training", "run.grad_scaler=true"],
            "override run.grad_scaler=true: [grad-scaler-without-autocast] run.grad_scaler run.autocast",
        ),
        (
            ["run.gradient_as_bucket_view=true"],
            "override run.gradient_as_bucket_view=true: [unused-key] mode inference",
        ),
        (["run.parallel=ddp"], "override run.parallel=ddp: [unused-key] mode inference parallel training"),
        (
            ["run.mode=training", "run.parallel=fsdp"],
            "override run.parallel=fsdp: [unknown-value] run.parallel none ddp fsdp2 zero1 zero2 zero3 fsdp2",
        ),
        (
            ["run.mode=training", "run.gpus=8"],
            "override run.gpus=8: [unused-key] parallel none gpus parallel: ddp fsdp2 zero1 zero2 zero3",
        ),
        (
            ["run.mode=training", "run.parallel=ddp", "run.param_dtype=bfloat16"],
            "override run.param_dtype=bfloat16: [unused-key] parallel ddp param_dtype parallel: fsdp2 zero2 zero3",
        ),
        (
            ["run.mode=training", "run.parallel=zero3", "run.gpus=8", "run.reshard_after_forward=4"],
            "override run.reshard_after_forward=4: [unused-key] parallel zero3 reshard_after_forward parallel: fsdp2",
        ),
    ],
)
def test_keys_of_ddp_and_of_the_scaler_need_what_they_are_of(overrides, problem):
    assert problem_of("sam_vit_b", *overrides) == problem


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["run.parallel=fsdp2"], "override run.parallel=fsdp2: [missing-key] run.parallel fsdp2 run.gpus"),
        (["run.parallel=zero1"], "override run.parallel=zero1: [missing-key] run.parallel zero1 run.gpus"),
        ([*FSDP[:1], "run.gpus=0"], "override run.gpus=0: [out-of-range] run.gpus"),
        (
            [*FSDP, "run.reshard_after_forward=3"],
            "override run.reshard_after_forward=3: [not-divisible] 3 8 2 4",
        ),
        ([*FSDP, "run.reshard_after_forward=0"], "override run.reshard_after_forward=0: [not-a-quantity]"),
        (
            [*FSDP, "run.reshard_after_forward=often"],
            "override run.reshard_after_forward=often: [not-a-quantity]",
        ),
        ([*FSDP, "run.param_dtype=int8"], "override run.param_dtype=int8: [unknown-value] run.param_dtype"),
        (
            [*FSDP, "run.autocast=bfloat16", "run.param_dtype=bfloat16"],
            "override run.autocast=bfloat16: [not-derived-yet] run.autocast run.param_dtype fsdp2",
        ),
        (
            [*FSDP, "run.reduce_dtype=bfloat16"],
            "override run.reduce_dtype=bfloat16: [not-derived-yet] run.reduce_dtype float32",
        ),
        (
            [*FSDP, "run.param_dtype=float16"],  # torch 2.15 reduces in the type of the shards
            "override run.param_dtype=float16: [not-derived-yet] run.reduce_dtype float32",
        ),
    ],
)
def test_what_is_sharded_needs_a_number_of_gpus_and_what_is_resharded_a_divisor_of_it(overrides, problem):
    assert problem_of("sam_vit_b", "run.mode=training", *overrides) == problem


def test_a_misspelt_parallel_is_the_only_problem_of_its_run(tmp_path):
    """The keys that FSDP2 alone uses are not refused as if the file had no `parallel`; nor are those of a misspelt mode."""
    for text, place in (
        ("mode: training, paralel: fsdp2, gpus: 8, param_dtype: bfloat16", "1:40"),
        ("mod: training, optimizer: sgd, grad_scaler: false, accumulate: 2", "1:24"),
    ):
        path = tmp_path / "a.yaml"
        path.write_text(f"{{extends: vit_b, run: {{{text}}}}}", "utf-8")
        with pytest.raises(ConfigError) as refused:
            load_config(path)
        assert refused.value.codes == ("unknown-key",)
        assert f"a.yaml:{place}" in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "reshards", "computes_in"),
    [
        ({"parallel": "fsdp2"}, True, "float32"),
        ({"parallel": "fsdp2", "reshard_after_forward": False}, False, "float32"),
        ({"parallel": "fsdp2", "reshard_after_forward": 8}, True, "float32"),
        ({"parallel": "fsdp2", "reshard_after_forward": 1}, False, "float32"),
        ({"parallel": "fsdp2", "reshard_after_forward": 4}, 4, "float32"),
        ({"parallel": "zero2", "param_dtype": "bfloat16"}, False, "bfloat16"),
        ({"parallel": "zero3", "param_dtype": "bf16"}, True, "bfloat16"),
    ],
)
def test_forms_of_fsdp(keys, reshards, computes_in):
    run = load_config(
        "sam_vit_b", [f"run.{key}={value}" for key, value in keys.items()] + FSDP[1:] + ["run.mode=training"]
    ).run
    assert (run.is_fsdp, run.reshards, run.computes_in) == (True, reshards, computes_in)
    assert run.product_dtype == computes_in  # which decides how fast products are
    assert (type(run.reshards), run.is_ddp) == (type(reshards), False)


def test_keys_that_a_mode_does_not_read_leave_its_hash_alone():
    """Python can make such a config, as `fit` does for both modes."""
    config = load_config("sam_vit_b", ["run.mode=training", "run.step=first", "run.accumulate=2"])
    inference = replace(config, run=replace(config.run, mode="inference"))
    assert config_hash(inference) == config_hash(load_config("sam_vit_b"))
    assert config_hash(config) != config_hash(load_config("sam_vit_b", ["run.mode=training"]))
    frozen = [load_config("sam_vit_b_lora", [f"run.trains={what}"]) for what in ("all", "adapters")]
    kept = [replace(each, run=replace(each.run, grad=True)) for each in frozen]
    assert config_hash(frozen[0]) == config_hash(frozen[1])
    assert config_hash(kept[0]) != config_hash(kept[1])


@pytest.mark.parametrize(("chooser", "key"), [("parallel=fspd2", "gpus=4"), ("mode=trainin", "ema=true")])
def test_a_misspelt_word_is_all_that_is_said_of_the_keys_that_depend_on_it(chooser: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("sam_vit_b", [f"run.{chooser}", f"run.{key}"])
    assert caught.value.codes == ("unknown-value",)
