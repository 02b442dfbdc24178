"""The message and the encoder of `samattn oom`, in the wrong order or misspelt."""

import pytest

from tests.support.running import samattn

MESSAGE = "CUDA out of memory. Tried to allocate 768.00 MiB"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("sam_vit_b", MESSAGE), None, "extra-argument"),
        (("sam_vit_q",), MESSAGE, "file-not-found"),
        (("it broke",), None, "no-message"),
        (("it broke " + "x" * 5000,), None, "no-message"),
    ],
)
def test_each_has_one_message(arguments, stdin, code):
    ran = samattn("oom", *arguments, stdin=stdin)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.rstrip().endswith(f"[{code}]")


def test_a_file_with_the_message_is_to_be_piped_in(tmp_path):
    log = tmp_path / "train run.log"
    log.write_text(MESSAGE, "utf-8")
    ran = samattn("oom", log.name, "sam_vit_b", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.rstrip().endswith("samattn oom - sam_vit_b < 'train run.log' [not-a-message]")
