"""Verdicts that `analyze` keeps: for the same config and the same versions alone, and only what is exact."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli import kept_verdicts
from samattn_cli.cli.app import app
from samattn_cli.cli.kept_verdicts import keep, kept
from samattn_cli.device.dry import build
from samattn_cli.errors import SamattnError
from samattn_cli.files.cache import cache_folder
from samattn_cli.files.load import load_config
from samattn_cli.verdicts import Check, CrossCheck, Difference

EXACT = CrossCheck(*[Check("exact", 3, 7, "meta")] * 4, layers_run=2)
CONFIG = load_config("sam_vit_b")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMATTN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "verdicts"


def test_a_verdict_is_kept_for_the_same_config_alone(folder: Path) -> None:
    assert kept(CONFIG) is None
    keep(CONFIG, EXACT)
    assert kept(CONFIG) == EXACT
    assert len(list(folder.iterdir())) == 1
    assert kept(load_config("sam_vit_b", ["run.checkpointing=true"])) is None
    assert kept(load_config("sam_vit_b", ["name=mine"])) == EXACT


def test_only_an_exact_verdict_is_kept(folder: Path) -> None:
    off = Check("differs", 3, 7, "meta", differences=(Difference("blocks.0", "conv", 1, 2),))
    keep(CONFIG, CrossCheck(off, *[EXACT.fvcore] * 3))
    keep(CONFIG, CrossCheck.not_run("skipped", "torch is not installed"))
    assert not folder.exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["torch", "fvcore", "transformers"])
def test_a_verdict_of_another_version_is_not_used(monkeypatch, name: str) -> None:
    keep(CONFIG, EXACT)
    found = kept_verdicts._version
    monkeypatch.setattr(kept_verdicts, "_version", lambda each: "9.9" if each == name else found(each))
    assert kept(CONFIG) is None


@pytest.mark.usefixtures("folder")
def test_a_verdict_of_other_code_is_not_used(monkeypatch) -> None:
    keep(CONFIG, EXACT)
    monkeypatch.setattr(kept_verdicts, "_code", lambda: "other")
    assert kept(CONFIG) is None


@pytest.mark.parametrize("checks", [[], {"fvcore": 1}, {"fvcore": ["exact", "3", 7, "meta", ""]}])
def test_figures_of_another_type_are_not_used(folder: Path, checks: object) -> None:
    keep(CONFIG, EXACT)
    (file,) = folder.iterdir()
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"checks": whole["checks"] | checks if checks else checks}))
    assert kept(CONFIG) is None


def test_nothing_is_kept_for_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number that no user has."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SAMATTN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    keep(CONFIG, EXACT)
    assert kept(CONFIG) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"made_of": 1}', "null", "\xff"])
def test_a_damaged_file_is_not_used(folder: Path, damage: str) -> None:
    keep(CONFIG, EXACT)
    (file,) = folder.iterdir()
    whole = json.loads(file.read_text())
    file.write_bytes(damage.encode("latin-1"))
    assert kept(CONFIG) is None
    whole["checks"]["fvcore"][0] = "skipped"
    file.write_text(json.dumps(whole))
    assert kept(CONFIG) is None
    del whole["checks"]["fvcore"]
    file.write_text(json.dumps(whole))
    assert kept(CONFIG) is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMATTN_CACHE", str(tmp_path / "file"))
    keep(CONFIG, EXACT)
    assert kept(CONFIG) is None


def test_an_empty_variable_keeps_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SAMATTN_CACHE", "")
    keep(CONFIG, EXACT)
    assert not list(tmp_path.iterdir())


def test_the_oldest_are_removed(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(kept_verdicts, "MOST_FILES", 2)
    for batch in range(1, 5):
        keep(load_config("sam_vit_b", [f"run.batch_size={batch}"]), EXACT)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.usefixtures("folder")
def test_analyze_checks_a_config_once_and_anew_if_it_is_asked_for(monkeypatch) -> None:
    runs = []

    def counted(*_: object, **__: object) -> CrossCheck:
        runs.append(1)
        return EXACT

    monkeypatch.setattr("samattn_cli.studies.verify.verify", counted)
    for words in ((), (), ("--verify",), ()):
        result = CliRunner().invoke(app, ["analyze", "sam_vit_b", "--brief", *words])
        assert result.exit_code == 0
        assert "✓ exact: counts and memory equal" in result.stdout
    assert len(runs) == 2


@pytest.mark.usefixtures("folder")
def test_a_check_that_could_not_run_says_why_and_not_what_it_cost(monkeypatch) -> None:
    monkeypatch.setattr("samattn_cli.studies.verify.missing_packages", lambda: ["torch"])
    monkeypatch.setattr("samattn_cli.cli.analyze._has_terminal", lambda: True)
    result = CliRunner().invoke(app, ["analyze", "sam_vit_b", "--brief"])
    assert "! not cross-checked: torch is not installed\n" in result.stdout


@pytest.mark.parametrize("home", ["/nonexistent", "", None])
def test_a_user_without_a_home_keeps_nothing(tmp_path: Path, monkeypatch, home: str | None) -> None:
    """As in a container whose user has no entry: Path.home() raises."""

    def no_home() -> Path:
        if home is None:
            raise RuntimeError("Could not determine home directory.")
        return Path(home or tmp_path / "gone")

    for name in ("SAMATTN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.chdir(tmp_path)
    keep(CONFIG, EXACT)
    assert kept(CONFIG) is None
    assert not list(tmp_path.iterdir())
    assert not Path("/nonexistent").exists()
    with pytest.raises(SamattnError, match="set XDG_CACHE_HOME") as error:
        build._cache()
    assert error.value.codes == ("dry-not-built",)


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is of Linux")
def test_a_relative_cache_folder_is_ignored(tmp_path: Path, monkeypatch) -> None:
    """As the XDG Base Directory Specification says."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "samattn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other" / "samattn"
