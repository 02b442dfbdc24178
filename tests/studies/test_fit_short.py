"""What `samattn fit` says first where nothing fits."""

import shlex

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app

TINY = ("vit_b", "--set", "depth=2", "--image-size", "64", "--vary", "resolution")


def printed(*words: str) -> list[str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.partition("\n\n")[0].splitlines() if "largest" not in line]


@pytest.mark.parametrize(
    ("memory", "modes"), [("1MiB", ["inference", "training"]), ("100MiB", ["training"]), ("1GiB", [])]
)
def test_a_mode_in_which_no_kernel_fits_has_the_command_that_says_what_would(
    memory: str, modes: list[str]
) -> None:
    lines = printed("fit", *TINY, "--memory", memory, "--aspect=1:1")
    for mode in modes:
        at = next(number for number, line in enumerate(lines) if f" in {mode}, " in line)
        assert lines[at].endswith("; what would fit:")
        command = shlex.split(lines[at + 1])
        assert command[:6] == ["samattn", "analyze", *TINY[:4]]
        assert not {"--vary", "resolution", "--aspect=1:1"} & set(command)
        assert any("does not fit" in line for line in printed(*command[1:], "--no-verify", "--brief"))
    assert sum("samattn" in line for line in lines) == len(modes)


def test_a_fit_that_finds_blocks_to_checkpoint_answers_itself() -> None:
    words = (*TINY[:5], "--vary", "checkpointing", "--attention", "eager", "--memory", "100MiB")
    assert not any("what would fit" in line for line in printed("fit", *words))
