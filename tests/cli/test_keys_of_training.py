"""Keys that only a training step reads, where an option of `fit` or `sweep` says that it is one."""

import pytest

from tests.support.running import samattn

SMALL = ("vit_b", "--set", "depth=1", "--image-size", "32", "--set", "run.step=first")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("fit", *SMALL, "--memory", "2GiB", "--vary", "batch-size", "--mode", "training"), 0),
        (("fit", *SMALL, "--memory", "2GiB", "--vary", "batch-size", "--mode", "inference"), 2),
        (("sweep", "vit_b", "--set", "run.step=first", "--modes", "training", "--metrics", "params"), 0),
    ],
)
def test_the_first_step_is_of_the_mode_that_is_asked_for(arguments, code):
    ran = samattn(*arguments)
    assert ran.returncode == code, ran.stderr
    assert ("[unused-key]" in ran.stderr) == (code == 2)
