"""Blank words of the command line, as an unset variable of a shell makes them."""

from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import COMMANDS, Commands, app
from samattn_cli.cli.command import UsageError


def commands_of(name: str) -> list[Any]:
    """A command, or the commands of a group."""
    command = Commands()[name]
    return [*getattr(command, "commands", {"": command}).values()]


def refusal(command: Any, *words: str) -> Any:
    with pytest.raises(UsageError) as caught, command.make_context("it", list(words)):
        pytest.fail("was taken")
    return caught.value.message


def said(*words: str) -> str:
    """What is printed for words that are refused, on one line."""
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("blank", ["", " "])
def test_every_option_that_takes_a_text_names_itself_when_it_is_blank(name: str, blank: str) -> None:
    for command in commands_of(name):
        for param in command.params:
            if param.param_type_name == "argument" or param.is_flag or hasattr(param.type, "choices"):
                continue
            option = max(param.opts, key=len)
            message = refusal(command, option, blank)
            assert message.startswith(f"{option} '': is empty; give {option} {param.metavar}: ")
            assert message.code == "empty-value"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_names_itself_when_it_is_blank(name: str) -> None:
    for command in commands_of(name):
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        for count, param in enumerate(arguments):
            message = refusal(command, *["a"] * count, "")
            assert (message.code, message.split()[0] in param.metavar) == ("empty-name", True)
        if not arguments:
            assert refusal(command, "").code == "extra-argument"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("analyze", "--amp", ""), "--amp '': is empty; give --amp TYPE: Run matrix products in bfloat16 or float16"),
        (("fit", "--gpu="), "--gpu '': is empty; give --gpu DEVICE: Instead of --memory"),
        (("trace", ""), "TARGET '': is empty; give TARGET: package.module:callable"),
        (("check", "a.yaml", ""), "CONFIG '': is empty; give CONFIG: YAML files or presets to check; by default"),
        (("analyze", "vit_b", ""), "a word after the arguments is empty (''): leave it out [extra-argument]"),
        (("analyze", "vit_b", "--chart", ""), "Invalid value for '--chart': '' is not one of 'layers', 'memory'"),
        (("",), "the word is empty; samattn --help lists the commands [unknown-command]"),
        (("help", ""), "the word is empty; samattn --help lists the commands [unknown-command]"),
        (("trace", "a:b", "--arg", "depth="), """an empty text is --arg 'depth=""' [not-an-argument]"""),
        (("sweep", "vit_b", "--vary", "depth=,2"), "--vary depth=,2: the list has an empty item [empty-item]"),
        (("analyze", "vit_b", "--image-size", "#"), "--image-size #: has no value [empty-value]"),
    ],
)  # fmt: skip
def test_what_is_said(words: tuple[str, ...], found: str) -> None:
    assert found in said(*words)


def test_help_of_a_command_that_does_not_exist_says_which_may_be_meant() -> None:
    assert "did you mean 'analyze'? [unknown-command]" in said("help", "analyz")
