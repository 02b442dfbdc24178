"""`samattn guide`: the pages in a terminal, from a checkout and from the wheel."""

from __future__ import annotations

import re
import sys
from functools import cache

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import COMMANDS, app
from samattn_cli.guide import OTHER_TOPICS, PAGES, Page, page_file
from samattn_cli.render.guide import render_guide
from samattn_cli.render.options import Options
from samattn_cli.spelling import known_as
from tests.support.pages import text_of
from tests.support.running import ROOT
from tests.support.sampling import sampled

PATHS = {page.path: topic for topic, page in PAGES.items()}


@cache
def guide(*words: str, columns: int = 80):
    return CliRunner().invoke(app, ["guide", *words], env={"COLUMNS": str(columns), "NO_COLOR": "1"})


def shown(text: str, width: int = 80, path: str = "examples/page.md", *, color: bool = False) -> str:
    return render_guide(text, path, PATHS, Options(width=width, color=color))


def test_without_a_topic_all_are_listed():
    result = guide()
    assert result.exit_code == 0
    for topic, page in PAGES.items():
        assert f"{topic} " in result.stdout
        assert page.summary in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("columns", sampled([80, 120], 2))
@pytest.mark.parametrize("topic", PAGES)
def test_each_page_is_shown_with_all_its_headings_and_code(topic, columns):
    result = guide(topic, columns=columns)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    source = text_of(PAGES[topic].path)
    code = re.findall(r"^```[^\n]*\n(.*?)^```$", source, re.MULTILINE | re.DOTALL)
    for text in code:
        for line in text.splitlines():
            assert line.rstrip() in lines, line  # as it stands, so that it can be copied
    prose = re.sub(r"^```.*?^```$", "", source, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        assert heading.replace("`", "") in lines
    verbatim = {line.rstrip() for text in code for line in text.splitlines()}
    assert max(len(line) for line in lines if line not in verbatim) <= columns
    rest = "\n".join(line for line in lines if line not in verbatim)
    assert "](" not in rest
    assert "…" not in rest  # what Rich writes for what it leaves out of a cell


@pytest.mark.parametrize(("word", "topic"), {**OTHER_TOPICS, "MEMORY": "memory"}.items())
def test_a_page_is_found_by_the_commands_and_words_that_it_is_about(word, topic):
    assert known_as(word, PAGES, OTHER_TOPICS) == topic


def test_every_command_has_a_page():
    assert {*COMMANDS} - {"guide"} <= {*PAGES, *OTHER_TOPICS}


def test_an_unknown_topic_is_an_error_with_what_would_be_right():
    result = guide("memry")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "unknown topic 'memry'; did you mean 'memory'? [unknown-topic]\n"
    assert guide("xyz").stderr.startswith("unknown topic 'xyz'; choose from start, commands, config, ")


def test_links_are_shown_as_what_opens_them():
    page = "See [memory](memory.md#keys), [a script](peaks.py), [here](#here), [timm](https://x.org/y). ![Bars](a.svg)"
    assert shown(page).split("\n\n")[0].replace("\n", " ").strip() == (
        "See memory (samattn guide memory), a script (examples/peaks.py), here, timm (https://x.org/y). "
        "Bars (a picture: examples/a.svg)"
    )


def test_escapes_in_a_page_are_not_obeyed():
    assert "\x1b[31m" not in shown("a \x1b[31mred\n\n```text\n\x1b[31mred\n```\n")


def test_a_long_line_of_code_is_not_wrapped_and_one_of_prose_is():
    lines = shown(f"```text\n{'x ' * 100}\n```\n\n{'y ' * 100}").splitlines()
    assert ("x " * 100).rstrip() in lines
    assert max(len(line) for line in lines if "y" in line) <= 80


def test_a_cell_that_is_too_long_is_wrapped_and_loses_no_digit():
    cells = ["123,456,789,012,345", "987,654,321,098,765", "111,222,333,444,555"]
    table = (
        f"| preset | one | two | three |\n| :-- | --: | --: | --: |\n| sam_vit_h | {' | '.join(cells)} |\n"
    )
    lines = shown(table, 78).splitlines()
    assert all(cell in "".join(lines) for cell in cells)
    narrow = "| a | b |\n| :-- | --: |\n" + f"| x | {'1234567890' * 10} |\n"
    digits = "".join(re.findall(r"\d+", shown(narrow, 78)))
    assert digits == "1234567890" * 10


def test_colour_changes_no_text():
    plain = shown(text_of("examples/memory.md"), 120)
    styled = re.sub(r"\x1b\[[0-9;]*m", "", shown(text_of("examples/memory.md"), 120, color=True))
    assert [line.rstrip() for line in styled.splitlines()] == plain.splitlines()


def test_pages_are_in_the_wheel_under_their_paths():
    tomllib = pytest.importorskip("tomllib") if sys.version_info < (3, 11) else __import__("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]
    included = targets["wheel"]["force-include"]
    pages = {path: where for path, where in included.items() if path != "configs"}
    assert pages == {page.path: f"samattn_cli/pages/{page.path}" for page in PAGES.values()}
    kept = targets["sdist"]["include"]  # from which the wheel is built
    assert all(
        any(page.path == name or page.path.startswith(f"{name}/") for name in kept) for page in PAGES.values()
    )


def test_pages_of_a_wheel_come_before_those_of_a_checkout(tmp_path, monkeypatch):
    page = Page("examples/memory.md", "")
    monkeypatch.setattr("samattn_cli.guide._PACKAGE", tmp_path / "samattn_cli")
    assert page_file(page) == tmp_path / "examples" / "memory.md"
    (tmp_path / "samattn_cli" / "pages").mkdir(parents=True)
    assert page_file(page) == tmp_path / "samattn_cli" / "pages" / "examples" / "memory.md"


def test_a_page_that_is_missing_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("samattn_cli.guide._PACKAGE", tmp_path / "samattn_cli")
    result = guide.__wrapped__("memory")
    assert result.exit_code == 2
    assert "memory.md: No such file or directory" in result.stderr.replace("\n", "")
