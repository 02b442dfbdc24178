from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from datetime import date
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from samattn_cli import load_config, load_device
from samattn_cli.cli.app import app
from samattn_cli.figures import FIGURES
from samattn_cli.gate.init.discovery import configs_below
from samattn_cli.gate.init.files import hook, pre_commit, thresholds, workflow
from samattn_cli.gate.init.limits import exactly, limits_of, rounded_up
from samattn_cli.gate.init.origin import Origin
from samattn_cli.gate.load_thresholds import load_thresholds
from samattn_cli.gate.readings import Encoder
from samattn_cli.gate.run import check
from samattn_cli.metric_names import path_of
from samattn_cli.quantities import quantity
from tests.support.repositories import VIT, git, write
from tests.support.running import ROOT, environment, samattn
from tests.support.thresholds_files import SMALL

ACTION = ROOT / ".github" / "action" / "action.yml"
GLOBAL = VIT.replace("window_size: 2\nglobal_attn_indexes: [1]\n", "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"encoders/small.yaml": SMALL, "encoders/vit.yaml": GLOBAL})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".git/" not in str(path)
    }


def written(folder: Path, *configs: str) -> Any:
    """The thresholds file that init writes for configs, checked: what `samattn check` says of it."""
    (folder / "samattn.yaml").write_text(
        thresholds(limits_of(configs, folder, [], None), folder, {}), "utf-8"
    )
    return check(load_thresholds(), today=date(2026, 1, 1))


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "most"),
    [
        (5_961_082_830_848, "FLOP", "5,961,082,830,848 FLOP"),
        (637_026_048, "params", "637,026,048 params"),
        (637, "params", "637 params"),
        (5_922_952_192, "B", "5,922,952,192 B"),
        (0, "B", "0 B"),
        (4, "", "4"),
    ],
)
def test_limits_of_counts_are_exact(value: int, unit: str, most: str) -> None:
    assert exactly(value, unit) == most
    assert quantity(most).amount == value


@pytest.mark.parametrize(
    ("value", "most"), [(113.31, "114 ms"), (0.0421, "43 us"), (999.5, "1000 ms"), (1000.5, "1.01 s")]
)
def test_limits_of_times_are_rounded_up_to_three_digits(value: float, most: str) -> None:
    assert rounded_up(value) == most


@given(st.floats(1e-3, 1e9))
def test_a_limit_of_a_time_is_never_below_it_nor_a_percent_above(value: float) -> None:
    amount = quantity(rounded_up(value)).amount
    assert value <= amount < Fraction(101, 100) * Fraction(value) or amount - Fraction(value) < Fraction(
        1, 1000
    )


def test_limits_are_the_figures_of_today(folder: Path) -> None:
    report = written(folder, "encoders/small.yaml", "encoders/vit.yaml")
    assert report.outcome == "pass"
    figures = Encoder(load_config("encoders/small.yaml"))
    limits = {result.rule: result.limit for result in report.results}
    for rule, metric in {"params": "params", "flops": "flops", "peak-memory": "peak_memory"}.items():
        value = figures.readings(metric)[0].value
        assert limits[f"small-{rule}"] == value
    assert limits["small-global-layers"] == 1
    assert "vit-global-layers" not in limits  # it has no windows to lose


def test_every_figure_that_is_a_cost_is_limited(folder: Path) -> None:
    [limits] = limits_of(["encoders/vit.yaml"], folder, [], load_device("a100_80"))
    limited = [path_of(limit.metric).removeprefix("totals.") for limit in limits.limits]
    assert limited == [figure.name for figure in FIGURES.values() if figure.is_cost]
    assert limited == ["params", "flops", "peak_bytes", "latency_ms"]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("global_attn_indexes: [1, 2]", "small-global-layers"),
        ("embed_dim: 34", "small-params"),
        ("image_size: 72", "small-flops"),
    ],
)
def test_an_encoder_that_costs_more_fails(folder: Path, change: str, broken: str) -> None:
    written(folder, "encoders/small.yaml", "encoders/vit.yaml")
    key = change.partition(":")[0]
    text = re.sub(rf"^{key}:.*$", change.replace("72", "96"), SMALL, flags=re.MULTILINE)
    (folder / "encoders" / "small.yaml").write_text(text, "utf-8")
    report = check(load_thresholds(), today=date(2026, 1, 1))
    assert broken in {result.rule for result in report.results if result.outcome == "error"}


def test_a_new_encoder_next_to_them_needs_its_limits(folder: Path) -> None:
    written(folder, "encoders/small.yaml", "encoders/vit.yaml")
    write(folder, {"encoders/new.yaml": SMALL})
    report = check(load_thresholds(), today=date(2026, 1, 1))
    assert report.outcome == "unchecked"
    (result,) = [result for result in report.results if result.code == "unmatched-config"]
    assert (result.config, result.outcome) == ("encoders/new.yaml", "unchecked")


@pytest.mark.parametrize(
    "names",
    [
        ("a/vit.yaml", "b/vit.yaml", "vit.yml"),
        ("a.b.yaml", "a-b.yaml"),
        ("config.v2.yaml", "policy.yaml"),
        ("with space.yaml", "colon: #.yaml", '"quoted".yaml', "it's.yaml", "\u00fc\U0001f642.yaml"),
        ("star*.yaml", "start.yaml", "[a].yaml", "what?.yaml", "{x}.yaml"),
        ("~home.yaml", "-.yaml", "null.yaml", "true.yaml", "back\\slash.yaml"),
    ],
)
def test_files_of_any_name_are_checked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, dict.fromkeys(names, SMALL))
    found = configs_below(tmp_path, [])
    assert sorted(found.configs) == sorted(names)
    report = written(tmp_path, *found.configs)
    assert report.outcome == "pass", [result.summary for result in report.results]
    assert len(report.results) == 4 * len(names)


def test_an_encoder_outside_of_the_folder_is_checked_too(folder: Path) -> None:
    (folder / "checks").mkdir()
    assert (
        samattn("init", "encoders/small.yaml", "encoders/vit.yaml", "--directory", "checks").returncode == 0
    )
    report = check(load_thresholds("checks/samattn.yaml"), today=date(2026, 1, 1))
    assert (report.outcome, report.configs) == ("pass", ("encoders/small.yaml", "encoders/vit.yaml"))


def test_what_is_found_are_encoders_only(folder: Path) -> None:
    others = {
        "compose.yaml": "services:\n  a: {extends: b}\n",
        "broken.yaml": "embed_dim: 770\nnum_heads: 12\n",
        "large.yaml": SMALL + "#" * 2**20,
        ".hidden/vit.yaml": SMALL,
        "venv/pyvenv.cfg": "",
        "venv/lib/vit.yaml": SMALL,
        "node_modules/vit.yaml": SMALL,
    }
    write(folder, others)
    found = configs_below(folder, [])
    assert found.configs == ("encoders/small.yaml", "encoders/vit.yaml")
    assert [problem.where.partition(":")[0] for problem in found.refused] == ["broken.yaml"]


# -- the command -----------------------------------------------------------------------------------------------------


def test_init_writes_what_passes_at_once(folder: Path) -> None:
    git(folder, "init", "-q")
    done = samattn("init")
    assert (done.returncode, done.stdout) == (0, "")
    *wrote, installs, end = done.stderr.splitlines()
    assert "install" in installs  # see test_init_add.py
    assert [*wrote, end] == [
        "wrote samattn.yaml",
        "wrote .github/workflows/samattn.yml",
        "wrote .pre-commit-config.yaml",
        "2 encoders, 7 limits. Next: samattn check, then commit what was written",
    ]
    assert '  - "encoders/*.yaml"\n' in Path("samattn.yaml").read_text("utf-8")
    again = samattn("check", "--fail-on", "warn")
    assert again.returncode == 0, again.stdout
    assert "7 passed" in again.stdout


def test_init_overwrites_nothing_unless_forced(folder: Path) -> None:
    write(folder, {"samattn.yaml": "mine", ".pre-commit-config.yaml": "repos: []\n"})
    before = files(folder)
    refused = samattn("init")
    assert refused.returncode == 2
    assert (
        refused.stderr
        == "samattn.yaml already exists: --add adds limits, --force sets existing limits to today's figures; nothing was written [file-exists]\n"
    )
    assert files(folder) == before
    assert Path("samattn.yaml").read_text("utf-8") == "mine"
    broken = samattn("init", "--force", "--no-workflow")
    assert (broken.returncode, Path("samattn.yaml").read_text("utf-8")) == (2, "mine")
    Path("samattn.yaml").unlink()
    done = samattn("init", "--force", "--no-workflow")
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)[0]["hooks"][0]["id"] == "samattn-check"
    assert Path(".pre-commit-config.yaml").read_text("utf-8") == "repos: []\n"
    assert files(folder) == before
    assert load_thresholds().thresholds.version == 1


def test_all_is_written_or_nothing(folder: Path) -> None:
    write(folder, {".github": "a file in the way"})
    before = files(folder)
    done = samattn("init")
    assert done.returncode == 2
    assert done.stderr.endswith("; nothing was written [cannot-write]\n")
    assert files(folder) == before


def test_without_an_encoder_it_says_what_to_do(tmp_path: Path) -> None:
    done = samattn("init", cwd=tmp_path)
    assert done.returncode == 2
    assert "[no-configs]" in done.stderr
    assert "samattn init sam_vit_b" in done.stderr
    assert not files(tmp_path)


def test_presets_and_a_profile_and_a_folder_in_a_repository(folder: Path) -> None:
    git(folder, "init", "-q")
    run = ("--dtype", "bfloat16", "--attention", "sdpa", "--image-size", "512x768", "--device", "a100_80")
    done = samattn("init", "sam_vit_b", "encoders/small.yaml", "--directory", "encoders", *run)
    assert done.returncode == 0, done.stderr
    assert files(folder) >= {
        "encoders/samattn.yaml",
        ".github/workflows/samattn.yml",
        ".pre-commit-config.yaml",
    }
    file = load_thresholds("encoders/samattn.yaml")
    assert tuple(entry.path for entry in file.thresholds.configs) == ("sam_vit_b", "small.yaml")
    profile = (file.thresholds.profiles or {})["serve"]
    assert (profile.dtype, profile.attention, profile.image_size) == ("bfloat16", "sdpa", (512, 768))
    assert {rule.metric for rule in file.thresholds.rules} >= {"latency", "peak_memory"}
    assert check(file, today=date(2026, 1, 1)).outcome == "pass"
    steps = yaml.safe_load(Path(".github/workflows/samattn.yml").read_text("utf-8"))["jobs"]["check"]["steps"]
    assert steps[-1]["run"].strip() == "samattn check --base auto --thresholds encoders/samattn.yaml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--directory", "nowhere"), "[no-such-directory]"),
        (("nope.yaml",), "nope.yaml"),
        (("-",), "[stdin-not-allowed]"),
        (("--device", "a1000"), "--device a1000"),
        (("--dtype", "float8"), "float8"),
    ],
)
def test_bad_input(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    before = files(folder)
    done = CliRunner().invoke(app, ["init", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
    assert files(folder) == before


def test_the_workflow_and_the_hook() -> None:
    path = PurePosixPath("my encoders/samattn.yaml")
    job = yaml.safe_load(workflow(path, Origin()))
    checkout, python, install, run = job["jobs"]["check"]["steps"]
    assert checkout["with"] == {"fetch-depth": 0}
    assert python["uses"].startswith("actions/setup-python@")
    assert install["run"] == "pip install samattn==0.1.0"
    assert run["run"] == "samattn check --base auto --thresholds 'my encoders/samattn.yaml'\n"
    assert job["permissions"] == {"contents": "read"}
    assert set(job[True]) == {"pull_request", "push"}  # `on`, by YAML 1.1
    (entry,) = yaml.safe_load(pre_commit() + hook(path, Origin()))["repos"]
    assert entry["hooks"][0]["entry"] == "samattn check --thresholds 'my encoders/samattn.yaml'"
    assert entry["hooks"][0]["pass_filenames"] is False


# -- the repository's own hook and action ----------------------------------------------------------------------------


def test_the_hook_of_the_repository() -> None:
    (entry,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert entry["entry"].split() == ["samattn", "check"]
    assert (entry["id"], entry["language"], entry["pass_filenames"]) == ("samattn-check", "python", False)


def action() -> dict[str, Any]:
    return yaml.safe_load(ACTION.read_text("utf-8"))


def scripts() -> list[dict[str, Any]]:
    return [step for step in action()["runs"]["steps"] if "run" in step]


def test_inputs_reach_the_scripts_of_the_action_through_the_environment_only() -> None:
    assert all("${{" not in step["run"] and step["shell"] == "bash" for step in scripts())
    used = set(re.findall(r"inputs\.([\w-]+)", ACTION.read_text("utf-8")))
    assert used == set(action()["inputs"])
    for step in scripts():
        assert set(re.findall(r"\$\{?([A-Z_]+)", step["run"])) <= {
            *step["env"],
            *("RUNNER_TEMP", "GITHUB_OUTPUT", "GITHUB_ACTION_PATH", "GITHUB_REPOSITORY"),
        }


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run_step(index: int, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    known = {
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_ACTION_PATH": "/a",
    }
    (folder / "temp").mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", scripts()[index]["run"]],
        env=environment(**known, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


MAKES_A_VENV = f"""\
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/usr/bin/env bash
printf '%s\\n' "$@" > installed
END
cat > "$3/bin/samattn" <<'END'
#!/usr/bin/env bash
printf '%s\\n' "$@" > asked
exec "{sys.executable}" -m samattn_cli "$@"
END
chmod +x "$3"/bin/*
"""


def checks(folder: Path, **inputs: str) -> tuple[int, dict[str, str]]:
    program(folder / "python", MAKES_A_VENV)
    given = {
        "THRESHOLDS": "",
        "BASE": "",
        "FAIL_ON": "error",
        "VERSION": "",
        "PYTHON": str(folder / "python"),
    }
    done = run_step(0, folder, **(given | inputs))
    lines = (folder / "output").read_text("utf-8").splitlines()
    return done.returncode, dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(
    ("limit", "code", "outcome"), [("1 TFLOP", 0, "pass"), ("1 FLOP", 1, "fail"), ("1 GiB", 2, "unchecked")]
)
def test_the_action_checks_and_says_the_outcome(folder: Path, limit: str, code: int, outcome: str) -> None:
    rules = f"rules: [{{id: a, metric: flops, limit: {limit}}}]\n"
    write(folder, {"samattn.yaml": f"version: 1\nconfigs: [encoders/small.yaml]\n{rules}"})
    returned, outputs = checks(folder)
    assert (returned, outputs["outcome"]) == (code, outcome)
    assert json.loads(Path(outputs["report"]).read_text("utf-8"))["kind"] == "check"
    assert (folder / "installed").read_text("utf-8").splitlines()[-1] == "/a/../.."


def test_inputs_of_the_action_are_never_run_or_split(folder: Path) -> None:
    hostile = "$(touch owned) `touch owned` '; touch owned; \" --all *"
    returned, outputs = checks(folder, THRESHOLDS=hostile, BASE=hostile, FAIL_ON=hostile, VERSION=hostile)
    assert (returned, outputs) == (2, {"outcome": "unchecked"})
    asked = (folder / "asked").read_text("utf-8").splitlines()
    assert asked[0] == "check"
    assert {f"--thresholds={hostile}", f"--base={hostile}", f"--fail-on={hostile}"} < set(asked)
    assert (folder / "installed").read_text("utf-8").splitlines()[-1] == f"samattn=={hostile}"
    assert not (folder / "owned").exists()


def comments(folder: Path, gh: str) -> subprocess.CompletedProcess[str]:
    write(folder, {"temp/samattn/check.md": "<!-- samattn check: samattn.yaml -->\n### fail\n"})
    program(folder / "bin" / "gh", gh)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return run_step(1, folder, PATH=path, NUMBER="7", GH_TOKEN="t", GITHUB_REPOSITORY="o/r")


@pytest.mark.parametrize(
    ("ids", "method", "place"),
    [("", "POST", "repos/o/r/issues/7/comments"), ("12\\n13\\n", "PATCH", "repos/o/r/issues/comments/12")],
)
def test_the_action_updates_its_comment_or_makes_one(
    tmp_path: Path, ids: str, method: str, place: str
) -> None:
    there = f"*--paginate*) printf '{ids}'; printf '%s' \"$marker\" > marker;;"
    done = comments(tmp_path, f'case "$*" in {there} *) printf \'%s\\n\' "$@" > asked;; esac\n')
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert asked[:4] == ["api", "--method", method, place]
    assert f"body=@{tmp_path}/temp/samattn/check.md" in asked
    assert (tmp_path / "marker").read_text("utf-8") == "<!-- samattn check: samattn.yaml -->"


def test_a_comment_that_cannot_be_made_is_reported_and_fails_nothing(tmp_path: Path) -> None:
    done = comments(tmp_path, "exit 1\n")
    assert (done.returncode, done.stdout) == (
        0,
        "::warning::samattn check could not read the comments of #7\n",
    )
