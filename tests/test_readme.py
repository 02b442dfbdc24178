import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
from running import ROOT, UPDATE, environment, samattn

from samattn_cli.cli.app import app
from samattn_cli.config.model import EncoderConfig, RunConfig, StageConfig

README = ROOT / "README.md"
BLOCK = re.compile(r"```console(?: exit=(\d))?\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    exit_code: int
    body: str

    @property
    def commands(self) -> list[str]:
        return [line[2:] for line in self.body.splitlines() if line.startswith("$ ")]

    @property
    def shows_output(self) -> bool:
        return len(self.commands) == 1 and ">" not in self.commands[0]


def blocks() -> list[Block]:
    return [Block(int(code or 0), body) for code, body in BLOCK.findall(README.read_text("utf-8"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.commands[0])
def test_commands_of_the_readme_run_and_print_what_it_shows(block: Block, folder: Path) -> None:
    for command in block.commands:
        program, *arguments = shlex.split(command)
        assert program == "samattn"
        target = None
        if ">" in arguments:
            *arguments, _, target = arguments
        result = samattn(*arguments, cwd=folder)
        assert result.returncode == block.exit_code, result.stderr
        if target:
            (folder / target).write_text(result.stdout, "utf-8")
        if block.shows_output:
            shown = f"$ {command}\n{result.stdout}{result.stderr}"
            if UPDATE:
                README.write_text(
                    README.read_text("utf-8").replace(f"\n{block.body}```", f"\n{shown}```"), "utf-8"
                )
            else:
                assert shown == block.body


def test_there_are_commands_in_the_readme() -> None:
    assert len(blocks()) >= 4


def test_the_python_of_the_readme_runs() -> None:
    code = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert code
    for snippet in code:
        result = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True)
        assert result.stdout.startswith("27988974764032 54899643392 2.32")


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words, groups and those in them."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")


def test_every_command_and_option_is_documented_and_has_help() -> None:
    text = README.read_text("utf-8")
    root = typer.main.get_command(app)
    for name, command in commands(root):
        assert f"`samattn {name}" in text, name
        assert command.help, name
        assert f"samattn {name}" in command.help, f"{name} has no example"
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in text, f"{name} {option}"
    for parameter in root.params:
        assert f"`{parameter.opts[0]}`" in text, parameter.name


def test_every_config_key_is_documented() -> None:
    text = README.read_text("utf-8")
    for config in (EncoderConfig, StageConfig, RunConfig):
        for field in fields(config):
            assert f"`{field.name}`" in text, field.name


def test_the_example_script_runs() -> None:
    script = [sys.executable, str(ROOT / "examples" / "api.py"), "512"]
    result = subprocess.run(script, capture_output=True, text=True, env=environment(), check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("window  8:")


def test_the_example_of_global_layers_says_what_fits_and_what_placements_see() -> None:
    script = [sys.executable, str(ROOT / "examples" / "global_layers.py")]
    result = subprocess.run(script, capture_output=True, text=True, env=environment(), check=True)
    lines = result.stdout.splitlines()
    assert lines[:3] == ["eager: 0 of 32", "sdpa: 1 of 32", "fused: 32 of 32"]
    assert lines[4] == "first:4: 24.96 GiB in training, layer 0 is the first to see all"


def test_the_table_of_peaks_is_what_its_script_prints():
    script = [sys.executable, str(ROOT / "examples" / "peaks.py")]
    result = subprocess.run(script, capture_output=True, text=True, env=environment(), check=True)
    assert result.stdout in README.read_text("utf-8")
