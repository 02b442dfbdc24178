from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.encoder.presets import presets
from samattn_cli.errors import ConfigError
from samattn_cli.files.load import load_config
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.studies.analyze import analyze
from tests.support.sampling import examples

STAGED = b"""image_size: 256
patch_size: 16
stages:
- {embed_dim: 96, depth: 4, num_heads: 3, window_size: 7, global_attn_indexes: [3]}
- embed_dim: 96
  depth: 2
  num_heads: 6
  mlp_ratio: 2.5
  window_size: [8, 4]
run:
  batch_size: 2
  dtype: bfloat16
"""
PRESETS = [
    *("sam_vit_b", "custom_encoder", "vitdet_b_fpn", "sam_vit_b_lora", "med_sam_adapter_b"),
    *("swin_t", "swinv2_t", "sam2_hiera_t", "sam3_vision"),
    *("mae_b_pretrain", "deep_encoder", "qwen2_5_vl_vision"),
]
"""One of each family."""

TEXTS = [STAGED, *(presets()[name].read_bytes() for name in PRESETS)]
MOST_BLOCKS = 64

GOOD_SCALARS = [
    b"1",
    b"2",
    b"3",
    b"7",
    b"16",
    b"64",
    b"96",
    b"1e2",
    b"0x10",
    b"0.5",
    b"[3, 5]",
    b"[64, 96]",
    b"[0]",
]
GOOD_WORDS = [b"none", b"sam", b"joint", b"decomposed", b"learned", b"true", b"float16", b"sam_vit_b", b"'x'"]
ODD_NUMBERS = [
    b"0",
    b"-1",
    b"1.5",
    b"1e999",
    b".inf",
    b"-.inf",
    b".nan",
    b"9" * 400,
    b"1048576",
    b"0o17",
    b"1000",
]
ODD_WORDS = [
    b"",
    b"~",
    b"no",
    b"22:22",
    b"2026-11-22",
    b"''",
    b'"\\0"',
    b'"\\e[31m"',
    b"a" * 300,
    b"\xff",
    b"\xc3",
]
ODD_YAML = [
    b"[]",
    b"{}",
    b"[1, [2]]",
    b"{a: 1}",
    b"!!int 3",
    b"!%ED%A0%80 x",
    b"&a [*a]",
    b"*a",
    b"&a 3",
    b"|",
    b"'",
]
ODD_KEYS = [b"extends", b"stages", b"run", b"name", b"<<", b"?", b"colour", b"''", b"12"]


@st.composite
def mutated(draw):
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        lines = mutate(draw, lines)
    return b"\n".join(lines)


def a_place(draw, lines):
    return draw(st.integers(0, max(len(lines) - 1, 0)))


def delete(draw, lines):
    place = a_place(draw, lines)
    return lines[:place] + lines[place + 1 :]


def duplicate(draw, lines):
    place = a_place(draw, lines)
    return lines[: place + 1] + lines[place:]


def swap(draw, lines):
    first, second = sorted((a_place(draw, lines), a_place(draw, lines)))
    if first == second:
        return lines
    return [*lines[:first], lines[second], *lines[first + 1 : second], lines[first], *lines[second + 1 :]]


def indent(draw, lines):
    return change(
        lines, a_place(draw, lines), lambda line: draw(st.sampled_from([b" ", b"  ", b"\t", b"- "])) + line
    )


def unindent(draw, lines):
    return change(lines, a_place(draw, lines), bytes.lstrip)


def good_value(draw, lines):
    value = draw(st.sampled_from(GOOD_SCALARS + GOOD_WORDS))
    return change(lines, a_place(draw, lines), lambda line: line.partition(b":")[0] + b": " + value)


def odd_value(draw, lines):
    value = draw(st.sampled_from(ODD_NUMBERS + ODD_WORDS + ODD_YAML))
    return change(lines, a_place(draw, lines), lambda line: line.partition(b":")[0] + b": " + value)


def odd_key(draw, lines):
    key = draw(st.sampled_from(ODD_KEYS))
    return change(lines, a_place(draw, lines), lambda line: key + b":" + line.partition(b":")[2])


def put_bytes(draw, lines):
    some, cut = draw(st.binary(min_size=1, max_size=3)), draw(st.integers(0, 40))
    return change(lines, a_place(draw, lines), lambda line: line[:cut] + some + line[cut:])


def truncate(draw, lines):
    return b"\n".join(lines)[: draw(st.integers(0, 900))].split(b"\n")


def change(lines, place, how):
    return [how(line) if number == place else line for number, line in enumerate(lines)]


RARE = [delete, duplicate, swap, indent, unindent, odd_key, put_bytes, truncate]
MUTATIONS = [*RARE, *[good_value] * 6, *[odd_value] * 4]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "encoder.yaml"


@settings(
    max_examples=examples(80), derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(mutated())
def test_a_mutated_preset_gives_a_config_or_a_config_error(path, text):
    path.write_bytes(text)
    try:
        config = load_config(path)
    except ConfigError as error:
        problems = error.problems
    else:
        assert isinstance(config, EncoderConfig)
        assert_its_analysis_closes(config)
        return
    sources = (str(path), *map(str, presets().values()))
    assert problems
    assert all(problem.where.startswith(sources) for problem in problems)
    assert all(problem.message and problem.message.isprintable() for problem in problems)
    assert all(problem.message.code for problem in problems)


@settings(
    max_examples=examples(50), derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(mutated(), st.sampled_from(["terminal", "json", "csv", "markdown"]))
def test_the_command_line_answers_a_mutated_preset_with_a_report_or_a_message(path, text, format_name):
    path.write_bytes(text)
    result = CliRunner().invoke(app, ["analyze", str(path), "--no-verify", "--format", format_name])
    assert result.exit_code in {0, 2}
    assert bool(result.stdout) == (result.exit_code == 0)
    assert bool(result.stderr) == (result.exit_code == 2)
    assert "internal error" not in result.stderr
    assert "Traceback" not in result.stderr


def assert_its_analysis_closes(config):
    if sum(stage.depth for stage in config.stages) > MOST_BLOCKS:
        return
    report = analyze(config, verify=False)
    for count in map(attrgetter, ("params", "macs", "flops", "elementwise_flops")):
        assert sum(map(count, report.parts)) + sum(map(count, report.layers)) == count(report.totals)
    assert from_json(to_json(report)) == report
