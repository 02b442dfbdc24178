"""Baseline files: large ones, keys that hide others, and what may not get into one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.errors import ConfigError
from samattn_cli.gate.baseline import NAME
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.reports.baseline import Entry, from_json, to_text
from samattn_cli.gate.run import check
from tests.gate.test_check_base import outside_of_ci  # noqa: F401 - a fixture for every test
from tests.support.repositories import new, write
from tests.support.thresholds_files import SMALL, TODAY

RULES = """\
version: 1
configs: ["encoders/*.yaml"]
policy: {removed: ignore}
rules: [{id: drift, metric: params, vs: baseline, increase: '+0'}]
"""
PARAMS = 75_424
"""Of the small encoder: see test_baseline."""


@pytest.mark.exhaustive
def test_three_megabytes_are_read_at_the_base_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configs = ("encoders/a.yaml", *(f"encoders/gone{number:05}.yaml" for number in range(22_000)))
    text = to_text([Entry(config=path, profile="", metric="params", value=PARAMS) for path in configs])
    assert len(text) > 3_000_000
    new(tmp_path, {"samattn.yaml": RULES, "encoders/a.yaml": SMALL, NAME: text})
    Path(NAME).write_text(text.replace(f'"value": {PARAMS}', f'"value": {PARAMS + 1}', 1), "utf-8")
    report = check(load_thresholds(), today=TODAY, base="HEAD")
    found = [result for result in report.results if result.outcome != "pass"]
    assert [(result.rule, result.config, result.outcome) for result in found] == [
        ("policy.loosened", "encoders/a.yaml", "error")
    ]
    assert "75,424 params -> 75,425 params" in found[0].summary


def test_standard_input_gets_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"samattn.yaml": RULES, "encoders/a.yaml": SMALL})
    run = CliRunner().invoke
    assert run(app, ["baseline", "create"]).exit_code == 0
    result = run(app, ["baseline", "update", "-"], input=SMALL)
    assert result.exit_code == 2
    assert "[stdin-not-allowed]" in result.output
    assert '"-"' not in Path(NAME).read_text("utf-8")


LINE = Entry(config="a", profile="", metric="params", value=1).text()
TWICE = LINE.replace('"value": 1', '"value": 1, "value": 2')
HEAD = '"kind": "baseline", "schema_version": 1'


@pytest.mark.parametrize(
    "text",
    [
        f'{{{HEAD}, "figures": [], "figures": [{LINE}]}}',
        f'{{"figures": [{LINE}], {HEAD}, "figures": []}}',
        f'{{"note": "figures", "more": [1], {HEAD}, "figures": [{LINE}]}}',
        f'{{{HEAD}, "\\u0066igures": [{LINE}]}}',
        f'{{{HEAD}, "figures": [{TWICE}]}}',
    ],
)
def test_no_key_hides_another(text: str) -> None:
    json.loads(text)
    with pytest.raises(ConfigError):
        from_json(text, NAME)


def test_figures_may_be_laid_out_otherwise() -> None:
    text = json.dumps(json.loads(f'{{{HEAD}, "figures": [{LINE}]}}'), indent=2)
    (entry,) = from_json(text, NAME).values()
    assert (entry.config, entry.value, entry.line) == ("a", 1, 5)
