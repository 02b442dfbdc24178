"""Damaged files of each kind: an answer or a message, no traceback, no other exit code, and never long."""

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.encoder.presets import devices
from tests.support.sampling import examples
from tests.support.thresholds_files import SMALL

CODES = {0, 1, 2, 130}
MOST_S = 10
"""Of processor time; what is drawn takes hundredths of a second."""

BASELINE = "samattn-baseline.json"
THRESHOLDS = """\
version: 1
configs: ["small*.yaml"]
profiles:
  p: {batch_size: 2, dtype: float16, device: h100}
rules:
- {id: a, match: "s*.yaml", metric: flops, limit: {warn: 1 MFLOP, error: 1 GFLOP}}
- {id: b, metric: latency, profile: p, limit: 10 ms, message: slow}
- {id: c, metric: params, vs: baseline, increase: {error: "+2 %", and_above: 1 K}}
- {id: d, metric: layers.global.count, expect: 1, tolerance: 0}
policy: {new: warn, unmatched: error}
waivers:
- {rule: a, config: small.yaml, upto: 2 GFLOP, reason: r, expires: 2099-01-01}
"""
FIGURE = {"config": "small.yaml", "profile": "", "metric": "params", "value": 75424, "unit": "params"}
ACCEPTED = {"rule": "c", "reason": "r", "was": 1}
MADE_BY = {"samattn": "0.1.0", "counting": 2}
BASELINE_TEXT = json.dumps(
    {"kind": "baseline", "schema_version": 1, "figures": [FIGURE | MADE_BY | {"accepted": ACCEPTED}]}
)
SAM = json.dumps(
    {
        "model_type": "sam",
        "vision_config": {
            "hidden_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "image_size": 256,
            "patch_size": 16,
            "window_size": 7,
            "global_attn_indexes": [1, 3],
            "mlp_dim": 384,
            "output_channels": 64,
            "qkv_bias": True,
            "use_rel_pos": True,
        },
    }
)
WEIGHTS = {
    f"blocks.{index}.{name}": shape
    for index in range(2)
    for name, shape in {"norm1.weight": (8,), "attn.qkv.weight": (24, 8), "mlp.lin1.weight": (32, 8)}.items()
} | {"patch_embed.proj.weight": (8, 3, 4, 4), "pos_embed": (1, 4, 4, 8)}


def header(weights: dict[str, tuple[int, ...]]) -> str:
    """The header of a safetensors file with empty weights."""
    entries = {
        name: {"dtype": "F32", "shape": [0, *shape], "data_offsets": [0, 0]}
        for name, shape in weights.items()
    }
    return json.dumps({"__metadata__": {"format": "pt"}, **entries})


def recording() -> str:
    (shipped,) = (Path(__file__).parent.parent.parent / "samattn_cli" / "recordings").glob("cpu-*.json")
    data = json.loads(shipped.read_text("utf-8"))
    return json.dumps({**data, "cases": data["cases"][:3]})


KINDS = {
    "small.yaml": (SMALL, [["check"], ["init", "--force"]]),
    "samattn.yaml": (THRESHOLDS, [["check"], ["baseline", "update"], ["init", "--add"]]),
    BASELINE: (BASELINE_TEXT, [["check"], ["baseline", "update"]]),
    "device.yaml": (
        devices()["h100"].read_text("utf-8"),
        [["analyze", "small.yaml", "--no-verify", "--device", "device.yaml"]],
    ),
    "r.json": (recording(), [["verify", "--measured", "r.json"], ["calibrate", "cpu", "r.json"]]),
    "config.json": (SAM, [["import", "config.json"]]),
    "w.safetensors": (header(WEIGHTS), [["import", "w.safetensors"]]),
}
"""Each file, a text that is sound, and the commands that read it."""

NUMBERS = [
    "0",
    "-1",
    "1e999",
    "-1e999",
    "NaN",
    "1" + "0" * 309,
    "9" * 5000,
    "1e300",
    "1e-320",
    "1.5",
    "2147483648",
]
ODD = [
    *NUMBERS,
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "[[]]",
    '"\\u001b[31m"',
    '"\\ud800"',
    '"::error::x"',
    "*x",
    "'",
    "\0",
]
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+,-]*|[A-Za-z_]\w*|\S')


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """The text with some of its tokens replaced, left out or given twice, or with its end cut off."""
    for _ in range(draw(st.integers(1, 3))):
        tokens = list(TOKEN.finditer(text)) or [re.match("", text)]
        token = draw(st.sampled_from(tokens))
        new = draw(
            st.sampled_from([*ODD, "", f"{token[0]} {token[0]}", f"{token[0]}, {token[0]}"])
            | st.text(max_size=3)
        )
        text = text[: token.start()] + new + text[token.end() :]
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode("utf-8", "surrogatepass")


def content(name: str, text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text if name.endswith(".safetensors") else text


@pytest.mark.parametrize("name", KINDS)
@settings(
    max_examples=examples(15),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_gives_an_answer_or_a_message(
    tmp_path, monkeypatch, name: str, data: st.DataObject
) -> None:
    monkeypatch.chdir(tmp_path)
    for other, (text, _) in KINDS.items():
        Path(other).write_bytes(content(other, text.encode()))
    text, commands = KINDS[name]
    Path(name).write_bytes(content(name, data.draw(damaged(text))))
    for command in commands:
        more = ["--no-workflow", "--no-pre-commit"] if command[0] == "init" else []
        began = time.process_time()
        done = CliRunner().invoke(app, [*command, *more])
        took = time.process_time() - began
        assert done.exit_code in CODES
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert "internal error" not in done.stderr, done.stderr
        assert "Traceback" not in done.output
        assert "\x1b" not in done.output
        assert took < MOST_S
        assert done.exit_code != 2 or done.output


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_sound_is_read(tmp_path, monkeypatch, name: str) -> None:
    """So that what is damaged is more than a file that nothing reads."""
    monkeypatch.chdir(tmp_path)
    for other, (text, _) in KINDS.items():
        Path(other).write_bytes(content(other, text.encode()))
    command = KINDS[name][1][0]
    done = CliRunner().invoke(app, command)
    assert done.exit_code in ({2} if name == "w.safetensors" else {0, 1}), done.output
