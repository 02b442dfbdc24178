"""README and the pages that it leads to: commands run and print what is shown, links lead somewhere, tables are today's."""

import posixpath
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from samattn_cli.cli.app import app
from samattn_cli.cli.command import normalizer
from tests.support.documented import tables
from tests.support.pages import (
    LEFT_OUT,
    PATHS,
    Block,
    anchors,
    blocks,
    fences,
    links,
    refreshed,
    replace,
    shown_files,
    text_of,
)
from tests.support.running import ROOT, UPDATE, environment, samattn
from tests.support.sampling import sampled
from tests.support.torch_2_6 import SAYS_MORE

README, COMMANDS, CONFIG, MEMORY = (
    "README.md",
    "examples/README.md",
    "configs/README.md",
    "examples/memory.md",
)
LONGEST_README = 300


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


SLOW = (
    "samattn fit sam_vit_h --device rtx_4090 --vary resolution",
    "samattn analyze sam_vit_b --no-verify --device rtx_4090 --chart memory -o memory.svg",
    "samattn fit sam_vit_b --memory 8GiB --no-padding --mode inference",
    "samattn analyze examples/families/talking_heads.yaml --family examples/families/talking_heads.py --no-verify",
    "samattn verify sam_vit_b --family examples/families/linear_neck.py --set neck=linear",
    "samattn compare-placements sam_vit_h --search 4 --by training_memory --device h100",
    "samattn sweep sam_vit_b sam_vit_l --resolutions 512:2048:128 -o sweep.csv -o sweep.html",
    "samattn verify sam_vit_b swin_t --image-size 448",
    "samattn plan vitdet_h --gpus 64 --device a100_40 --global-batch 64 --autocast float16 --attention eager",
    "samattn plan sam2_hiera_b_plus --gpus 8 --device a100_80 --global-batch 64 --autocast bfloat16 --batch-size 8",
    "samattn plan sam_vit_b --gpus 8 --devices l40s,h100 --global-batch 16 --attention sdpa --price l40s=1.2 --price h100=2.9",
)
"""The first commands of blocks that take a second and a half or more: they run each week. README has none of them."""

CROSS_CHECKED = "samattn analyze sam_vit_h --full"


def cases() -> list[Any]:
    """The blocks that show the same commands, with their first command as the name of the test."""
    return [pytest.param(shown, id=command, marks=marks(command)) for (command, *_), shown in alike().items()]


def marks(command: str) -> list[pytest.MarkDecorator]:
    is_slow = command in SLOW and not UPDATE
    return [*[pytest.mark.exhaustive] * is_slow, *[SAYS_MORE] * (command == CROSS_CHECKED)]


def test_slow_commands_are_of_other_pages():
    found = {command: {block.page for block in shown} for (command, *_), shown in alike().items()}
    assert all(README not in found[command] for command in SLOW)


def alike() -> dict[tuple[str, ...], list[Block]]:
    """The blocks of all pages by their commands: what several pages show is run once."""
    by_commands: dict[tuple[str, ...], list[Block]] = {}
    for block in blocks():
        by_commands.setdefault(block.commands, []).append(block)
    return by_commands


@pytest.mark.parametrize("shown", cases())
def test_commands_of_the_pages_run_and_print_what_these_show(shown: list[Block], folder: Path) -> None:
    first = shown[0]
    assert {block.exit_code for block in shown} == {first.exit_code}
    for command in first.commands:
        program, *arguments = shlex.split(command)
        assert program == "samattn"
        target = None
        if ">" in arguments:
            *arguments, _, target = arguments
        result = samattn(*arguments, cwd=folder)
        assert result.returncode == first.exit_code, result.stderr
        if target:
            (folder / target).write_text(result.stdout, "utf-8")
    for block in shown if first.shows_output else ():
        now = refreshed(block.body, result.stdout + result.stderr)
        if UPDATE and now != block.body:
            replace(ROOT / block.page, f"\n{block.body}```", f"\n{now}```")
        else:
            assert now == block.body


def test_a_part_of_an_output_is_compared_from_its_first_line_on():
    body = f"$ samattn x\na\nb\n{LEFT_OUT}\nd\n{LEFT_OUT}\n"
    assert refreshed(body, "a\nb\nc\nd\ne\n") == body
    assert refreshed(body, "a\nB\nc\nd\ne\n") == body.replace("b", "B")
    assert refreshed("$ samattn x\na\n", "a\nb\n") == "$ samattn x\na\nb\n"
    with pytest.raises(AssertionError, match="no longer prints the line 'd' here"):
        refreshed(body, "a\nb\nc\ne\n")


def test_readme_is_short_and_each_page_has_commands_or_is_about_the_code():
    assert len(text_of(README).splitlines()) <= LONGEST_README
    without = {path for path in PATHS if path not in {block.page for block in blocks()}}
    assert without == {"samattn_cli/README.md", "tests/benchmarks/README.md", ".github/CONTRIBUTING.md"}


@pytest.mark.parametrize("path", PATHS)
def test_links_lead_to_files_that_are_kept_and_to_headings(path):
    kept = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    for link in links(path):
        if "://" in link:
            continue
        target, _, heading = link.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
        assert (ROOT / file).exists(), link
        assert not kept or file in kept or any(name.startswith(f"{file}/") for name in kept), link
        assert not heading or heading in anchors(file), link


def test_readme_leads_to_every_page():
    led = {posixpath.normpath(link.partition("#")[0]) for link in links(README)}
    assert set(PATHS) - {README} <= led


@pytest.mark.parametrize("path", PATHS)
def test_yaml_that_names_a_file_is_that_file(path):
    for code in fences(path, "yaml"):
        name = code.partition(":")[0].removeprefix("# ")
        if name.startswith("examples/"):
            file = ROOT / name
            if UPDATE and file.read_text("utf-8") != code:
                replace(ROOT / path, f"\n{code}```", f"\n{file.read_text('utf-8')}```")
            else:
                assert file.read_text("utf-8") == code


@pytest.mark.parametrize(
    ("path", "name", "code"), [(path, *file) for path in PATHS for file in shown_files(path)]
)
def test_a_file_that_a_page_shows_is_that_file(path, name, code):
    text = (ROOT / name).read_text("utf-8")
    if UPDATE and text != code:
        replace(ROOT / path, f" {name}\n{code}```", f" {name}\n{text}```")
    else:
        assert text == code


def test_the_python_of_the_pages_runs() -> None:
    code = [snippet for path in PATHS for snippet in fences(path, "python")]
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
    text = text_of(COMMANDS)
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


def test_commands_that_are_not_run_have_options_that_there_are() -> None:
    """Those of ```bash: on a GPU, in somebody's repository."""
    known = dict(commands(typer.main.get_command(app)))
    seen = 0
    code = "".join(code for path in PATHS for code in fences(path, "bash")).replace("\\\n", "")
    for line in code.splitlines():
        words = shlex.split(line.partition("samattn ")[2], comments=True) if "samattn " in line else []
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0] if words else ""
        if name not in known:
            continue
        seen += 1
        options = {option for each in known[name].params for option in (*each.opts, *each.secondary_opts)}
        normal = normalizer(option.lstrip("-") for option in options)
        for word in words:
            if word.startswith("--"):
                assert f"--{normal(word[2:].partition('=')[0])}" in options, line
    assert seen >= 10


@pytest.mark.parametrize("header", tables())
def test_keys_and_words_of_a_config_are_documented(header):
    table = f"{header}{tables()[header]}"
    before, found, after = text_of(CONFIG).partition(header)
    assert found
    if UPDATE:
        (ROOT / CONFIG).write_text(f"{before}{table}\n{after.partition(chr(10) * 2)[2]}", "utf-8")
    else:
        assert f"{table}\n" in text_of(CONFIG)


PICTURES = {
    "sam_vit_h.svg": (
        "sam_vit_h",
        *("--image-size", "2048", "--device", "rtx_4090", "--chart", "memory"),
    ),
    "memory.svg": ("sam_vit_b", "--mode", "training", "--chart", "memory"),
}


@pytest.mark.parametrize("name", sampled(PICTURES, 2))
def test_the_picture_is_what_the_command_draws(name, tmp_path):
    result = samattn("analyze", *PICTURES[name], "--no-verify", "-o", name, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    drawn, kept = tmp_path / name, ROOT / "examples" / name
    if UPDATE:
        kept.write_bytes(drawn.read_bytes())
    assert drawn.read_bytes() == kept.read_bytes()


def test_the_example_script_runs() -> None:
    script = [sys.executable, str(ROOT / "examples" / "api.py"), "512"]
    result = subprocess.run(script, capture_output=True, text=True, env=environment(), check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("window  8:")


def printed_by(script: str, monkeypatch: Any, capsys: Any, *arguments: str) -> str:
    """What a script of `examples` prints, in this process."""
    path = str(ROOT / "examples" / script)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    runpy.run_path(path, run_name="__main__")
    return capsys.readouterr().out


def test_the_example_of_global_layers_says_what_fits_and_what_placements_see(monkeypatch, capsys) -> None:
    lines = printed_by("global_layers.py", monkeypatch, capsys, "sam_vit_b").splitlines()
    assert lines[:3] == ["eager: 12 of 12", "sdpa: 12 of 12", "fused: 12 of 12"]
    assert lines[4] == "first:4: 7.15 GiB in training, layer 0 is the first to see all"


def test_the_table_of_peaks_is_what_its_script_prints(monkeypatch, capsys):
    assert printed_by("peaks.py", monkeypatch, capsys) in text_of(MEMORY)
