"""What a shell completes, asked as bash and zsh ask."""

import subprocess
import sys
from pathlib import Path

import pytest

from samattn_cli.cli import complete
from samattn_cli.encoder.keys import choices_of
from samattn_cli.encoder.model import RunConfig
from samattn_cli.encoder.presets import devices, presets
from tests.support.running import ROOT, environment
from tests.support.sampling import sampled

DTYPES = choices_of(RunConfig.__dataclass_fields__["dtype"])


def asked_by_bash(
    *words: str, cwd: Path = ROOT, code: str = "from samattn_cli.cli import run; run()"
) -> list[str]:
    """What bash is given for the last of the words."""
    variables = {
        "_SAMATTN_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("samattn", *words)), "COMP_CWORD": str(len(words))
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(**variables), capture_output=True, text=True, check=True
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "completed"),
    sampled(
        [
            (("analyze", "sam_vit_"), [name for name in presets() if name.startswith("sam_vit_")]),
            (("analyze", "vit_b", "--device", "a100"), ["a100_40", "a100_80"]),
            (("sweep", "vit_b", "--dtypes", "float32,b"), ["float32,bfloat16"]),
            (("analyze", "vit_b", "--set", "global_"), ["global_attn_indexes="]),
            (("check", "--format", "g"), ["github", "gitlab"]),
        ],
        3,
    ),
)
def test_a_shell_completes(words: tuple[str, ...], completed: list[str]) -> None:
    assert sorted(asked_by_bash(*words)) == sorted(completed)


def test_completing_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import os, sys; leave = os._exit\n"
        "heavy = ['torch', 'numpy', 'fvcore', 'sympy', 'pydantic.main']\n"
        "os._exit = lambda code: (print('HEAVY', [name for name in heavy if name in sys.modules], flush=True), leave(0))\n"
        "from samattn_cli.cli import run; run()"
    )
    for words in (
        ("explain", "vit_b", "--metric", "m"),
        ("compare-placements", "vit_b", "--by", "p"),
        ("measure", "s"),
    ):
        *found, heavy = asked_by_bash(*words, code=code)
        assert found
        assert heavy == "HEAVY []", words


def test_presets_and_devices_are_completed_whatever_their_capitals(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete.configs("SAM_VIT_H_") == ["sam_vit_h_all_global", "sam_vit_h_all_windowed"]
    assert complete.devices("") == list(devices())
    assert complete.presets("") == list(presets())
    assert complete.shipped_devices("RTX_4") == ["rtx_4090"]


def test_files_and_folders_are_completed_next_to_them(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("encoders/h.yaml", "encoders/b.yml", "encoders/notes.txt", "encoders/.git/x.yaml", "f.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [each for each in complete.configs("f") if not each.startswith("florence2")] == ["f.yaml"]
    assert "encoders/" in complete.configs("e")
    assert complete.configs("encoders/") == ["encoders/b.yml", "encoders/h.yaml"]
    assert complete.configs("./encoders/h") == ["./encoders/h.yaml"]
    assert complete.configs("nowhere/") == []


def test_the_words_of_a_list_are_completed_each_once() -> None:
    several = complete.words_of("run.dtype", several=True)
    assert several("") == DTYPES == ["float32", "bfloat16", "float16"]
    assert several("float32,") == ["float32,bfloat16", "float32,float16"]
    assert complete.words_of("run.dtype")("float32,") == []


def test_the_keys_of_set_are_all_keys_and_their_words_follow() -> None:
    keys = [setting.removesuffix("=") for setting in complete.settings("")]
    assert {"image_size", "window_size", "run.dtype", "lora_rank"} <= set(keys)
    assert not {"stages", "run", "overrides"} & set(keys)
    assert complete.settings("run.dtype=b") == ["run.dtype=bfloat16"]
    assert complete.settings("rel_pos=") == ["rel_pos=none", "rel_pos=decomposed", "rel_pos=joint"]
    assert complete.settings("qkv_bias=t") == ["qkv_bias=true"]
    assert complete.settings("image_size=") == []
    assert complete.settings("nothing=") == []


def test_a_folder_that_cannot_be_listed_completes_nothing(monkeypatch) -> None:
    def refused(_path):
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refused)
    assert complete.configs("locked/") == []
    assert complete.configs("a\0/") == []


def test_the_words_of_a_family_from_outside_are_completed() -> None:
    talking = "examples/families/talking_heads.py"
    named = ("analyze", "vit_b", "--family", talking, "--set", "block=talking")
    assert asked_by_bash(*named) == ["block=talking_vit"]
    assert "".join(asked_by_bash(*named[:2], *named[4:])) == ""


def test_a_family_that_fails_prints_nothing_into_a_completion(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('hello')\nraise ValueError('broken')\n", "utf-8")
    for file in ("broken.py", "missing.py"):
        assert asked_by_bash("analyze", "--family", file, "--device", "a100_8", cwd=tmp_path) == ["a100_80"]
