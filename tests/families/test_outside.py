"""Families from outside the package: a file, a folder, an installed package; what is wrong with one is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samattn_cli import add_family, analyze, load_config
from samattn_cli.cli.app import app
from samattn_cli.encoder.outside import add_again, add_installed, origins
from samattn_cli.encoder.registry import BLOCKS, code_for, homes, set_homes
from samattn_cli.errors import ConfigError, FamilyError
from samattn_cli.files.schema import config_schema
from samattn_cli.studies import child
from samattn_cli.studies.child import ask_outcome
from samattn_cli.studies.explain import explain
from samattn_cli.tape.encoder import forward
from samattn_cli.verdicts import CrossCheck
from tests.support import repositories
from tests.support.problems import messages_of
from tests.support.running import ROOT, samattn

FOLDER = ROOT / "examples" / "families"
TALKING, CONFIG = FOLDER / "talking_heads.py", FOLDER / "talking_heads.yaml"
SMALL = ("--image-size", "128")
FIRST = """\
from samattn_cli.encoder.slots import Block, Family
FAMILY = Family(blocks={"mine": Block(summary="Mine.")})
"""
AS_VIT = """\
def tape():
    from samattn_cli.families.vit import tape
    return {"BLOCKS": {"mine": tape.BLOCKS["vit"]}}
def stack():
    from samattn_cli.families.vit import stack
    return {"BLOCKS": {"mine": stack.BLOCKS["vit"]}}
"""
BY_THIRDS = """
from dataclasses import dataclass
from samattn_cli.encoder.slots import Placing

@dataclass
class Thirds:
    first: int

    def __call__(self, entering):
        return Placing() if entering.position % 3 == self.first else Placing(entering.placement)

FAMILY = Family(blocks={"mine": Block(summary="Mine.", place=Thirds(1))})
"""
TAPPING = """
from samattn_cli.encoder.slots import Block, Family, Part

FAMILY = Family(
    blocks={"mine": Block(summary="Adds the positions again.", taps=("pos_embed",))},
    necks={"sum": Part(summary="Adds a block.", taps=lambda config: (f"blocks.{config.out_indices[0]}",), keys=frozenset({"out_indices"}))},
)


def tape():
    from samattn_cli.families.vit import tape as vit

    def block(tape, x, positions, layer, kernel):
        tokens = tape.add("add", x, positions)
        made = vit.BLOCKS["vit"](tape, tokens, layer, kernel)
        tape.free(tokens)
        return made

    return {"BLOCKS": {"mine": block}, "NECKS": {"sum": lambda tape, x, part, tap: tape.add("add", x, tap)}}

"""
"""Blocks that take the output of an earlier part, and a neck that takes that of a block."""
MINE = {"image_size": 64, "patch_size": 16, "block": "mine", "embed_dim": 64, "depth": 2, "num_heads": 4}


@pytest.fixture(autouse=True)
def _only_those_of_the_package():
    before = homes()
    yield
    set_homes(before)


def written(folder: Path, files: dict[str, str]) -> Path:
    repositories.write(folder, files)
    return folder


def package(folder: Path, name: str = "my_lab") -> Path:
    """A family in the form of a package: as `AS_VIT`, in modules that import each other."""
    code = "from samattn_cli.families.vit import {0}\nfrom .words import WORD\nBLOCKS = {{WORD: {0}.BLOCKS['vit']}}\n"
    words = f"WORD = 'mine'\n{FIRST.replace(repr('mine').replace(chr(39), chr(34)), 'WORD')}"
    files = {"words.py": words, "tape.py": code.format("tape"), "stack.py": code.format("stack")}
    return written(folder / name, files)


def invoked(*words: str, **variables: str) -> Any:
    """A command in this process."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "80", **variables})


def exact(config) -> bool:
    verdict = analyze(config, verify=True).crosscheck
    assert isinstance(verdict, CrossCheck)
    return verdict.status == "exact"


def test_the_example_is_vit_with_two_products_over_heads() -> None:
    add_family(TALKING)
    talking, plain = load_config(CONFIG), load_config(CONFIG, "block=vit")
    tokens, heads = 32 * 32, 6
    for layer, ours, vit in zip(
        talking.layers, forward(talking).segments[2:], forward(plain).segments[2:], strict=True
    ):
        pairs = tokens * tokens if layer.is_global else tokens * 8 * 8
        assert ours.recording.macs - vit.recording.macs == 2 * heads * heads * pairs
        assert ours.recording.params - vit.recording.params == 2 * (heads * heads + heads)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["run.autocast=bfloat16", "run.batch_size=2"],
        ["run.dtype=float16", "run.checkpointing=true", "qkv_bias=false", "window_size=[3, 5]"],
    ],
)
def test_the_example_is_exact_against_its_stack(overrides) -> None:
    add_family(TALKING)
    assert exact(
        load_config(CONFIG, ["image_size=[128, 160]", "depth=3", "global_attn_indexes=2", *overrides])
    )


@pytest.mark.parametrize("block", [1, 2])
def test_twins_free_the_same_of_their_inputs(tmp_path, block) -> None:
    """The last block is the last to take the positions; the output before it enters the neck too, if it is output 2."""
    add_family(written(tmp_path, {"tapping.py": TAPPING}) / "tapping.py")
    passed = forward(load_config({**MINE, "depth": 4, "neck": "sum", "out_indices": [block]}))
    freed = [
        (source, segment.name)
        for segment in passed.segments
        for (source, _), entry in zip(segment.sources, segment.entries, strict=True)
        if any(entry.storage in op.frees for op in segment.recording.ops)
    ]
    last = {"pos_embed": "blocks.3", "blocks.0": "blocks.1", "blocks.1": "blocks.2", "blocks.2": "blocks.3"}
    last |= {"patch_embed": "pos_embed", "blocks.3": "neck", f"blocks.{block}": "neck"}
    assert sorted(freed) == sorted(last.items())


def test_each_block_is_placed_by_an_object_that_has_no_hash(tmp_path) -> None:
    add_family(written(tmp_path, {"thirds.py": FIRST + BY_THIRDS + AS_VIT}) / "thirds.py")
    config = load_config({**MINE, "depth": 6, "window_size": 2})
    assert [layer.index for layer in config.layers if layer.is_global] == [1, 4]
    assert exact(config)


def test_a_folder_is_a_family_in_the_form_of_the_package(tmp_path) -> None:
    add_family(package(tmp_path))
    assert exact(load_config(MINE))


def test_an_imported_module_is_a_family(tmp_path, monkeypatch) -> None:
    package(tmp_path, "lab_by_name")
    monkeypatch.syspath_prepend(tmp_path)
    add_family(import_module("lab_by_name"))
    assert exact(load_config(MINE))
    assert origins() == [("module", "lab_by_name")]


def test_a_family_is_added_once_and_the_words_of_configs_are_those_there_are(tmp_path) -> None:
    with pytest.raises(ConfigError, match="'mine'"):
        load_config(MINE)
    path = written(tmp_path, {"mine.py": FIRST + AS_VIT}) / "mine.py"
    before = homes()
    for _ in range(2):
        add_family(path)
    assert len(homes()) == len(before) + 1
    assert load_config(MINE | {"block": "MINE"}).stages[0].block == "mine"
    words = config_schema()["properties"]["block"]
    assert "mine" in json.dumps(words)
    assert "mine: Mine." in words["description"]
    set_homes(before)
    with pytest.raises(ConfigError, match="'mine'"):
        load_config(MINE)


def test_torch_is_imported_by_the_stack_alone() -> None:
    code = "import sys; from samattn_cli import *; from samattn_cli import add_family, load_config\n"
    code += f"add_family({str(TALKING)!r}); from samattn_cli.tape.encoder import forward\n"
    code += f"forward(load_config({str(CONFIG)!r})); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


BLOCK = 'FAMILY = Family(blocks={"mine": Block(summary="Mine.", %s)})'
IMPORT = "from samattn_cli.encoder.slots import Block, Family, Part\n"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("def tape(:\n", "family-not-python", "mine.py:1:10: "),
        ("x = 1\n", "family-without-words", "mine.py: FAMILY is missing"),
        ("FAMILY = {}\n", "family-without-words", "must be a Family, not dict"),
        ("import math\n\nmath.sqrt(-1)\n", "family-fails", "mine.py:3: ValueError: "),
        ("import no_such_package\n", "family-fails", "mine.py:1: ModuleNotFoundError: "),
        ("raise SystemExit(0)\n", "family-fails", "mine.py:1: SystemExit: 0"),
        (
            f'{IMPORT}FAMILY = Family(blocks={{"vit": Block(summary="x")}})',
            "family-word-taken",
            "families.vit",
        ),
        (f'{IMPORT}FAMILY = Family(blocks={{"My-Vit": Block(summary="x")}})', "family-bad-word", "'My-Vit'"),
        (f'{IMPORT}FAMILY = Family(necks={{"none": Part(summary="x")}})', "family-bad-word", "'none'"),
        (
            f'{IMPORT}FAMILY = Family(blocks={{"mine": Part(summary="x")}})',
            "family-bad-word",
            "Block, not Part",
        ),
        (f"{IMPORT}FAMILY = Family(blocks=[])", "family-bad-word", "a dictionary, not list"),
        (IMPORT + BLOCK % "keys={'rel_poss'}", "family-unknown-value", "did you mean 'rel_pos'"),
        (IMPORT + BLOCK % "keys={'window_size'}", "family-unknown-value", "'window_size'"),
        (IMPORT + BLOCK % "kernels=('flash',)", "family-unknown-value", "choose from eager, fused, sdpa"),
        (IMPORT + BLOCK % "rel_pos=('none', 'joined')", "family-unknown-value", "'joined'"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported_and_nothing_is_added(tmp_path, text, code, said) -> None:
    path, before = written(tmp_path, {"mine.py": text}) / "mine.py", homes()
    with pytest.raises(FamilyError) as caught:
        add_family(path)
    assert caught.value.codes == (code,)
    assert said in str(caught.value)
    assert homes() == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nowhere.py", "file-not-found"),
        ("notes.txt", "family-not-python"),
        ("empty", "family-without-words"),
        ("binary.py", "family-not-python"),
    ],
)
def test_what_is_not_a_family_at_all(tmp_path, monkeypatch, name, code) -> None:
    repositories.write(tmp_path, {"notes.txt": "x", "empty/x.txt": "", "binary.py": b"x = 1\0"})
    monkeypatch.chdir(tmp_path)
    result = invoked("analyze", "sam_vit_b", "--family", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert name in result.stderr
    assert f"[{code}]" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("module", ["tape", "stack"])
def test_a_word_without_code_is_reported_with_the_family(tmp_path, module) -> None:
    rest = AS_VIT.replace(f"def {module}()", f"def no_{module}()")
    path = written(tmp_path, {"mine.py": FIRST + rest}) / "mine.py"
    add_family(path)
    with pytest.raises(FamilyError) as caught:
        code_for(module, "blocks", "mine")
    assert caught.value.codes == ("family-without-code",)
    assert str(path) in str(caught.value)
    assert "BLOCKS['mine']" in str(caught.value)
    assert module in str(caught.value)
    if module == "stack":  # which is no reason against the derived figures
        verdict = analyze(load_config(MINE), verify=True).crosscheck
        assert verdict.status == "failed"


def test_code_that_returns_something_else(tmp_path) -> None:
    text = f"{FIRST}def tape():\n    return [1]\n"
    add_family(written(tmp_path, {"mine.py": text}) / "mine.py")
    with pytest.raises(FamilyError) as caught:
        code_for("tape", "blocks", "mine")
    assert caught.value.codes == ("family-bad-code",)


def test_an_error_in_a_pass_is_the_family_s_with_its_line(tmp_path) -> None:
    text = (
        FIRST
        + "def tape():\n    return {'BLOCKS': {'mine': block}}\ndef block(tape, x, layer, kernel):\n    return x.shap\n"
    )
    written(tmp_path, {"mine.py": text, "e.yaml": json.dumps(MINE)})
    result = samattn("analyze", "e.yaml", "--family", "mine.py", "--no-verify", cwd=tmp_path)
    assert result.returncode == 2
    assert "mine.py:6: AttributeError: " in result.stderr
    assert "[family-fails]" in result.stderr
    assert "bug in samattn" not in result.stderr


def test_an_error_in_a_module_is_a_reason_of_the_crosscheck_with_its_line(tmp_path) -> None:
    stack = "def stack():\n    def block(layer, kernel):\n        return layer.nothing\n    return {'BLOCKS': {'mine': block}}\n"
    path = written(tmp_path, {"mine.py": FIRST + AS_VIT.partition("def stack")[0] + stack}) / "mine.py"
    add_family(path)
    verdict = analyze(load_config(MINE), verify=True).crosscheck
    assert verdict.status == "failed"
    assert f"{path}:8: AttributeError: " in verdict.fvcore.reason


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "--verify"),
        pytest.param(("verify",), marks=pytest.mark.exhaustive),
        ("sweep", "--resolutions", "128,256"),
        ("compare-placements",),
        ("explain",),
        pytest.param(("fit", "--device", "t4"), marks=pytest.mark.exhaustive),
    ],
)
def test_commands_take_a_config_of_the_example(words) -> None:
    name, *rest = words
    result = invoked(name, str(CONFIG), *rest, *([] if name == "sweep" else SMALL), "--family", str(TALKING))
    assert result.exit_code == 0, result.stderr
    if name in {"analyze", "verify"}:
        assert "exact" in result.stdout
        assert "differs" not in result.stdout
    else:
        assert "talking_heads" in result.stdout


def test_the_variable_names_families(tmp_path) -> None:
    also = written(tmp_path, {"mine.py": FIRST + AS_VIT}) / "mine.py"
    words = ("analyze", str(CONFIG), "--no-verify", "--set", "neck=none")
    result = invoked(*words, SAMATTN_FAMILY=f"{also}{os.pathsep}{TALKING}")
    assert result.exit_code == 0, result.stderr
    assert {"mine", "talking_vit"} <= BLOCKS.keys()


@pytest.mark.exhaustive
def test_a_measuring_process_has_the_families() -> None:
    add_family(TALKING)
    config = load_config(CONFIG, ["image_size=64", "depth=1", "global_attn_indexes=none"])
    assert ask_outcome(config, "cpu", repeats=1).status == "measured"


def test_a_measuring_process_is_told_the_families(monkeypatch) -> None:
    """It adds them again, as `add_again` is shown to do above; a process of its own runs each week."""
    asked: list[dict[str, Any]] = []

    def run_child(request: dict[str, Any], _: object) -> subprocess.CompletedProcess[str]:
        asked.append(json.loads(json.dumps(request)))
        return subprocess.CompletedProcess([], 1, "", "")

    monkeypatch.setattr(child, "run_child", run_child)
    add_family(TALKING)
    child.ask_outcome(load_config(CONFIG), "cpu")
    assert [request["families"] for request in asked] == [[["path", str(TALKING)]]]


def test_check_judges_a_config_of_the_example_against_its_base(tmp_path) -> None:
    limit = "configs: [e.yaml]\nrules:\n  - id: drift\n    metric: flops\n    vs: base\n    increase: +10 %\n"
    text = CONFIG.read_text()
    repository = repositories.new(tmp_path, {"e.yaml": text, "samattn.yaml": f"version: 1\n{limit}"})
    repositories.commit(repository, {"e.yaml": text.replace("depth: 12", "depth: 16")})
    result = samattn("check", "--base", "HEAD~1", "--family", str(TALKING), cwd=repository)
    assert result.returncode == 1, result.stdout + result.stderr
    unnamed = samattn("check", "--base", "HEAD~1", cwd=repository)
    assert unnamed.returncode == 2
    assert "talking_vit" in unnamed.stderr + unnamed.stdout


def test_what_init_writes_names_the_family(tmp_path) -> None:
    text = TALKING.read_text()
    root = repositories.new(tmp_path / "r", {"models/mine.py": text, "encoders/e.yaml": CONFIG.read_text()})
    result = samattn("init", "--family", "../models/mine.py", cwd=root / "encoders")
    assert result.returncode == 0, result.stderr
    said = "samattn check --base auto --thresholds encoders/samattn.yaml --family models/mine.py"
    assert said in (root / ".github" / "workflows" / "samattn.yml").read_text()
    assert said.replace(" --base auto", "") in (root / ".pre-commit-config.yaml").read_text()
    check = "samattn check --family ../models/mine.py"
    comments = (root / "encoders" / "samattn.yaml").read_text()
    assert f"`{check}` fails if one costs more" in comments
    assert f"`{check} --all`" not in comments
    assert "`samattn check --all --family ../models/mine.py` lists every figure" in comments
    assert f"Next: {check}, then commit" in result.stderr
    assert samattn(*check.split()[1:], cwd=root / "encoders").returncode == 0


def installed(folder: Path, value: str, name: str = "talking") -> dict[str, str]:
    """A package on PYTHONPATH with an entry point, as pip would install it."""
    info = "lab-1.0.dist-info"
    repositories.write(
        folder,
        {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n",
            f"{info}/entry_points.txt": f"[samattn.families]\n{name} = {value}\n",
        },
    )
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def lab(tmp_path: Path) -> dict[str, str]:
    """Variables of an environment in which a family is installed; `e.yaml` uses it."""
    package(tmp_path / "site")
    written(tmp_path, {"e.yaml": json.dumps(MINE)})
    return installed(tmp_path / "site", "my_lab")


@pytest.mark.exhaustive
def test_an_installed_package_is_verified_and_its_words_are_in_the_schema(tmp_path, lab) -> None:
    verified = samattn("verify", "e.yaml", cwd=tmp_path, **lab)
    assert verified.returncode == 0, verified.stderr
    assert "exact" in verified.stdout
    schema = samattn("schema", cwd=tmp_path, **lab)
    assert "mine: Mine." in schema.stdout


def test_an_installed_package_offers_its_family(tmp_path, lab) -> None:
    analyzed = samattn("analyze", "e.yaml", "--no-verify", cwd=tmp_path, **lab)
    assert analyzed.returncode == 0, analyzed.stderr
    twice = samattn("analyze", "e.yaml", "--family", "site/my_lab", "--no-verify", cwd=tmp_path, **lab)
    assert twice.returncode == 0, twice.stderr


def test_an_installed_family_that_is_broken_is_reported_where_a_config_is_wrong(tmp_path) -> None:
    variables = installed(tmp_path / "site", "no_such_lab")
    written(tmp_path, {"e.yaml": json.dumps(MINE)})
    assert samattn("analyze", "sam_vit_b", "--no-verify", **variables).returncode == 0
    said = "talking = no_such_lab (samattn.families): "
    for words in (("analyze", "e.yaml"), ("schema",)):
        result = samattn(*words, cwd=tmp_path, **variables)
        assert (result.returncode, result.stdout) == (2, "")
        assert said in result.stderr
        assert "[family-fails]" in result.stderr
        assert ("'mine'" in result.stderr) is (words[0] == "analyze")
    written(tmp_path, {"config.json": json.dumps({"model_type": "mine"})})
    imported = samattn("import", "config.json", cwd=tmp_path, **variables)
    assert imported.returncode == 2
    assert f"[unknown-model]\n{said}" in imported.stderr


def test_the_words_of_a_family_that_is_imported_are_read(tmp_path) -> None:
    reader = "def importing():\n    return {'HUGGING_FACE': {'mine': read}}\ndef read(given):\n    given.ignore(*given.entries)\n    return "
    text = f"{FIRST}{AS_VIT}{reader}{MINE!r}\n"
    written(tmp_path, {"mine.py": text, "config.json": json.dumps({"model_type": "mine"})})
    result = invoked("import", str(tmp_path / "config.json"), "--family", str(tmp_path / "mine.py"))
    assert result.exit_code == 0, result.stderr
    assert "block: mine" in result.stdout


def test_another_process_adds_the_same_families() -> None:
    add_family(TALKING)
    (origin,) = origins()
    set_homes([home for home in homes() if not home.origin])
    assert "talking_vit" not in BLOCKS
    add_again(tuple(json.loads(json.dumps(origin))))
    assert "talking_vit" in BLOCKS


def test_reading_entry_points_of_this_environment_finds_nothing_wrong() -> None:
    assert add_installed() == ()


CHANNELS_FIRST = """\
from samattn_cli.encoder.layouts import TokenLayout
from samattn_cli.encoder.slots import Block, Family, PatchEmbed

FIRST = TokenLayout("channels_first", "channels before the grid", lambda B, grid, tokens, C: (B, C, *grid))
FAMILY = Family(
    blocks={"first": Block(summary="vit, channels first.", layout=FIRST, keys=frozenset({"num_windows_side"}))},
    patch_embeds={"patch_first": PatchEmbed(summary="Patches, channels first.", makes=FIRST)},
)

def tape():
    from samattn_cli.families.vit import tape
    def block(pass_, x, layer, kernel="eager"):
        return tape.block(pass_, x.permute(0, 2, 3, 1), layer, kernel).permute(0, 3, 1, 2)
    def patch_embed(pass_, image, part):
        return tape.patch_embed(pass_, image, part).permute(0, 3, 1, 2)
    return {"BLOCKS": {"first": block}, "PATCH_EMBEDS": {"patch_first": patch_embed}}

def stack():
    from samattn_cli.families.vit import stack
    class FirstBlock(stack.Block):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    class Patches(stack.PatchEmbed):
        def forward(self, image):
            return super().forward(image).permute(0, 3, 1, 2)
    return {"BLOCKS": {"first": FirstBlock}, "PATCH_EMBEDS": {"patch_first": Patches}}
"""
FIRST_KEYS = {**MINE, "block": "first", "patch_embed": "patch_first", "pos_embed": "none"}


def test_a_family_brings_a_layout_and_blocks_with_a_number_of_windows(tmp_path: Path) -> None:
    add_family(written(tmp_path, {"first.py": CHANNELS_FIRST}) / "first.py")
    config = load_config(FIRST_KEYS, ["num_windows_side=2", "global_attn_indexes=1"])
    assert exact(config)
    layer = explain(
        config, "0"
    )  # 16 tokens in 2x2 windows of 2x2: linear layers of 64 channels, and two products
    assert layer.value == 16 * 12 * 64**2 + 2 * 4 * 4**2 * 64
    assert layer.formula
    with pytest.raises(ConfigError) as caught:
        load_config(FIRST_KEYS, ["block=vit"])
    assert messages_of(caught) == ["[layout-mismatch] vit patch_first grid channels before"]
