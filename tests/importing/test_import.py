import subprocess
import sys

from samattn_cli import load_config
from tests.support.bad_files import hostile
from tests.support.checkpoints import of_sam, shapes_of, write_safetensors
from tests.support.importing import as_json
from tests.support.running import PATIENCE_S, environment, samattn


def test_the_command_writes_a_config_that_passes_verify(tmp_path):
    small = load_config(
        "sam_vit_b", ["embed_dim=32", "depth=2", "num_heads=2", "image_size=128", "window_size=3", "out_chans=8",
                      "global_attn_indexes=[1]"]
    )  # fmt: skip
    write_safetensors(tmp_path / "small.safetensors", of_sam(small))
    made = samattn("import", "small.safetensors", "-o", "small.yaml", cwd=tmp_path)
    assert (made.returncode, made.stdout) == (0, "")
    assert "The nearest, sam_vit_b, has embed_dim 768 instead of 32; depth 12 instead of 2;" in made.stderr
    assert "[not-published]" in made.stderr
    assert "[not-published]" not in (tmp_path / "small.yaml").read_text("utf-8")
    assert "image_size: 128\n" in (tmp_path / "small.yaml").read_text("utf-8")
    verified = samattn("verify", "small.yaml", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout


def test_bad_input_exits_with_2_and_writes_nothing(tmp_path):
    hostile(tmp_path / "evil.pth")
    made = samattn("import", "evil.pth", "-o", "out.yaml", cwd=tmp_path)
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith("evil.pth: ")
    assert "(posix.system)" in made.stderr
    assert made.stderr.endswith("[unsafe-checkpoint]\n")
    assert len(made.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pth"]
    without = samattn("import", "vit_base_patch16_224", cwd=tmp_path)
    assert without.returncode == 2
    assert "pip install timm [not-installed]" in without.stderr
    piped = samattn("import", "-", cwd=tmp_path, stdin="{}")
    assert (piped.returncode, piped.stdout) == (2, "")
    assert piped.stderr.endswith("[stdin-not-read]\n")


def test_json_and_safetensors_take_no_torch(tmp_path):
    paths = [
        as_json({"model_type": "sam2"}, tmp_path / "config.json"),
        write_safetensors(tmp_path / "swin.safetensors", shapes_of("swin_t")),
    ]
    code = (
        "import sys\nfrom samattn_cli.importing.importer import imported\n"
        f"for path in {list(map(str, paths))}: imported(path)\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=PATIENCE_S)
