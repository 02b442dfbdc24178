"""What samattn prints to be copied runs as it stands, also in zsh, where brackets and stars that are not quoted are patterns."""

import re
import shlex
import subprocess

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.gate.git import repository
from samattn_cli.render.formats.terminal import render
from samattn_cli.render.options import Options
from samattn_cli.shell import command, line, options
from tests.support.repositories import git, new

PATTERN = re.compile(r"[\[\]*?{}();&|<>$`!\\\s#~]")
"""What a shell reads as something else where it is not quoted."""

WORDS = ["plain", "my encoder.yaml", "a=[1, 2]", "*", "$(reboot)", "it's", "a;b", "~", ""]


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_gives_a_word_back_as_it_was(word: str) -> None:
    script = f"printf '%s\\n' {line(word)}"
    assert (
        subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == f"{word}\n"
    )


def test_commands_and_options_are_made_of_such_words() -> None:
    assert command("analyze", "my encoder.yaml") == "samattn analyze 'my encoder.yaml'"
    assert options("--set", ["a=1,2", "b=[1, 2]"]) == "--set a=1,2 --set 'b=[1, 2]'"
    assert options("--set", []) == ""


def settings_of(text: str) -> list[str]:
    """The options --set in a text."""
    return re.findall(r"--set ('[^']*'|\S+[^\s:)])", text)


@pytest.mark.parametrize(
    ("name", "overrides"), [("sam_vit_b", []), ("sam2_hiera_l", []), ("swin_t", ["run.mode=training"])]
)
def test_what_a_report_says_to_set_needs_no_quotes_and_is_taken(name: str, overrides: list[str]) -> None:
    report = analyze(load_config(name, overrides), verify=False)
    found = settings_of(render(report, Options(width=200)))
    assert found
    for setting in found:
        assert not PATTERN.search(setting), setting
        load_config(name, [*overrides, *shlex.split(setting)])


def test_what_would_make_every_layer_windowed_is_reported_in_full(tmp_path) -> None:
    file = tmp_path / "e.yaml"
    text = "extends: sam_vit_b\nwindow_size: [7, 14]\noverrides: [{blocks: [0, 1], window_size: 0}]\n"
    file.write_text(text, "utf-8")
    config = load_config(file)
    (change,) = (
        change for change in analyze(config, verify=False).changes if change.change == "no global layer"
    )
    assert change.set == ("global_attn_indexes=none", "overrides.0.window_size=7x14")
    set_so, meant = load_config(file, change.set), config.all_windowed()
    assert [layer.window_size for layer in set_so.layers] == [layer.window_size for layer in meant.layers]


def test_what_git_is_told_to_fetch_is_quoted(tmp_path) -> None:
    """A branch may be called `a;b`, a folder anything."""
    root = new(tmp_path / "my clone", {"a.txt": "a"})
    git(root, "remote", "add", "origin", "nowhere")
    assert repository(root).fetch("a;b") == "git fetch origin 'a;b:refs/remotes/origin/a;b'"
    assert repository(root).fetch("main") == "git fetch origin main:refs/remotes/origin/main"
