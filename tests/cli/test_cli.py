import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from samattn_cli import analyze, cli, load_config
from samattn_cli.cli.app import app
from samattn_cli.cli.output import terminal_options
from samattn_cli.encoder.presets import presets
from samattn_cli.reports.text import from_json
from tests.support.running import PATIENCE_S, ROOT, SAMATTN, environment, samattn

# -- what a user runs ------------------------------------------------------------------------------------------------


def test_the_report_is_printed_if_the_cross_check_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("samattn_cli.studies.verify.verify", interrupted)
    result = CliRunner().invoke(app, ["analyze", "custom_encoder"])
    assert result.exit_code == 130
    assert "! not cross-checked: interrupted" in result.stdout
    assert "Layers" in result.stdout


def test_no_verify_imports_neither_torch_nor_numpy_nor_the_rest_of_pydantic() -> None:
    code = (
        "import sys; sys.argv = ['samattn', 'analyze', 'sam_vit_h', '--no-verify']\n"
        "import os; leave = os._exit\n"
        "heavy = ['torch', 'numpy', 'fvcore', 'sympy', 'pydantic.main', 'samattn_cli.reports.recording', "
        "'importlib.metadata', 'samattn_cli.encoder.outside']\n"
        "found = lambda: [name for name in heavy if name in sys.modules]\n"
        "os._exit = lambda code: (print('HEAVY', found(), flush=True), leave(code))\n"
        "from samattn_cli.cli import run; run()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("HEAVY []\n")


def test_without_torch_the_figures_stand_and_the_crosscheck_says_skipped() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['samattn', *sys.argv[1:]]\n"
        "from samattn_cli.cli import run; run()"
    )
    analyzed = subprocess.run(
        [sys.executable, "-c", code, "analyze", "sam_vit_b"], capture_output=True, text=True, check=False
    )
    assert analyzed.returncode == 0
    assert "! not cross-checked: torch is not installed" in analyzed.stdout
    assert "972.1 GFLOP" in analyzed.stdout
    insisted = subprocess.run(
        [sys.executable, "-c", code, "analyze", "sam_vit_b", "--verify", "-f", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert insisted.returncode == 2
    assert "cross-check skipped: torch is not installed" in insisted.stderr
    install = "torch is not installed: pip install 'samattn[torch]' [cross-check-not-run]\n"
    assert insisted.stderr.endswith(install)
    verified = subprocess.run(
        [sys.executable, "-c", code, "verify", "sam_vit_b"], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 2
    assert "torch is not installed" in verified.stdout
    assert verified.stderr.endswith(install)
    assert not analyzed.stderr


def test_json_round_trips_into_the_report_and_its_config_is_a_config(tmp_path: Path) -> None:
    result = samattn("analyze", "custom_encoder", "--no-verify", "--format", "json")
    report = analyze(load_config("custom_encoder"), verify=False, sizes=True)
    assert from_json(result.stdout) == report
    config = tmp_path / "custom_encoder.yaml"
    config.write_text(json.dumps(json.loads(result.stdout)["config"]), "utf-8")
    assert load_config(config) == report.config


def test_json_has_the_stable_keys() -> None:
    data = json.loads(samattn("analyze", "sam_vit_b", "--no-verify", "--format", "json").stdout)
    assert (data["schema_version"], data["kind"]) == (1, "analysis")
    assert data["totals"].keys() >= {
        "params", "macs", "flops", "elementwise_flops", "attention_bytes", "weights_bytes", "peak_bytes"
    }  # fmt: skip
    assert data["layers"][2].keys() >= {
        "index", "name", "stage", "attention", "window_size", "grid", "padded_grid", "windows", "params", "macs",
        "flops", "elementwise_flops", "attention_bytes", "attention_bytes_per_head", "saved_bytes", "peak_bytes",
        "ops", "vs_global",
    }  # fmt: skip
    assert data["layers"][0]["vs_global"].keys() >= {
        "scores_flops_ratio", "attention_flops_ratio", "layer_flops_ratio", "attention_bytes_saving"
    }  # fmt: skip
    assert data["layers"][0]["ops"][0].keys() >= {"name", "macs", "flops", "params"}
    assert data["comparison"].keys() >= {"vs_all_global", "vs_all_window"}
    assert data["comparison"]["vs_all_global"].keys() >= {"flops_ratio", "peak_bytes_saving"}
    assert data["crosscheck"].keys() >= {"fvcore", "flop_counter", "memory_trace"}
    for name in ("params", "macs", "flops", "elementwise_flops"):
        places = data["layers"] + data["parts"]
        assert sum(place[name] for place in places) == data["totals"][name]


def test_csv_has_a_row_for_each_part_and_layer_and_sums_to_the_total() -> None:
    text = samattn("analyze", "sam_vit_b", "--no-verify", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["row"] for row in rows] == ["part"] * 3 + ["layer"] * 12 + ["total"]
    assert sum(int(row["flops"]) for row in rows[:-1]) == int(rows[-1]["flops"]) == 972_077_334_528
    assert (rows[-1]["peak_op"], rows[-1]["weights_bytes"]) == (
        "blocks.2.attn.add_rel_w",
        str(4 * 89_670_912),
    )


def test_standard_input_and_set() -> None:
    text = (ROOT / "configs" / "sam_vit_b.yaml").read_text("utf-8")
    result = samattn("analyze", "-", "--no-verify", "--format", "json", "--set", "window_size=64", stdin=text)
    assert (
        json.loads(result.stdout)["totals"]["flops"] == 1_335_197_958_144
    )  # one 64x64 window is the whole grid


def test_version_and_module() -> None:
    assert samattn("--version").stdout == "samattn 0.1.0\n"


@pytest.mark.parametrize("name", presets())
def test_a_preset_names_its_schema_and_is_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert presets()[name].read_text("utf-8").startswith("# yaml-language-server: $schema=./schema.json\n")
    assert load_config(name).name == name


def test_the_schema_takes_the_presets_and_refuses_mistakes() -> None:
    schema = json.loads(samattn("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in presets().values():
        assert not list(validator.iter_errors(yaml.safe_load(path.read_text("utf-8")))), path
    good = yaml.safe_load(presets()["sam_vit_b"].read_text("utf-8"))
    for bad in ({"depth": 0}, {"windw_size": 3}, {"rel_pos": "both"}, {"image_size": "big"}, {"stages": []}):
        assert list(validator.iter_errors(good | bad)), bad
    assert list(validator.iter_errors({key: value for key, value in good.items() if key != "embed_dim"}))


# -- colour, width, encoding -----------------------------------------------------------------------------------------


def test_colour_follows_force_color_and_no_color() -> None:
    assert "\x1b[" not in samattn("analyze", "sam_vit_b", "--no-verify").stdout
    assert "\x1b[" in samattn("analyze", "sam_vit_b", "--no-verify", FORCE_COLOR="1", TERM="xterm").stdout
    both = samattn("analyze", "sam_vit_b", "--no-verify", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stdout
    assert "\x1b[3" not in both


ONE_BLOCK = ("--set", "depth=1", "--set", "global_attn_indexes=none", "--image-size", "64")
"""Options of a small encoder: `verify` runs every block."""

NARROW = 80


@pytest.mark.parametrize("columns", [NARROW, 100, 160, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(columns: int) -> None:
    checked = () if columns == NARROW else ("--no-verify",)  # whose lines are no wider at other widths
    text = samattn("analyze", "sam_vit_h", "--full", "--ops", "0", *checked, columns=columns).stdout
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    for exact in ("637,026,048", "5,961,082,830,848", "7,961,258,754,048", "5,675,343,413,248"):
        assert exact in text


@pytest.mark.parametrize(("stream", "columns", "width"), [
    ("stderr", "", 93), ("stdin", "", 93), ("", "", 100), ("stderr", "120", 120), ("", "0", 100), ("stdin", "wide", 93),
])  # fmt: skip
def test_a_report_in_a_pipe_is_as_wide_as_the_terminal(
    stream: str, columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piped into a pager, standard error and standard input are the terminal still."""
    number = {"stdin": 0, "stderr": 2, "": -1}[stream]

    def size(descriptor: int) -> os.terminal_size:
        if descriptor != number:
            raise OSError("is not a terminal")
        return os.terminal_size((93, 24))

    monkeypatch.setattr(os, "get_terminal_size", size)
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_options().width == width


def test_a_real_terminal_on_standard_error_is_what_the_report_fits() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 93, 0, 0))
    command = [*SAMATTN, "analyze", "sam_vit_b", "--no-verify"]
    piped = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, env=environment(),
                           check=True, timeout=PATIENCE_S)  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert max(map(len, piped.stdout.decode().splitlines())) in {92, 93}  # words wrap before it


def test_an_encoding_without_our_characters_gets_plain_ones() -> None:
    text = samattn("analyze", "sam_vit_b", "--no-verify", PYTHONIOENCODING="ascii").stdout
    assert "0-1 x2" in text
    assert text.isascii()


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    result = samattn("analyze", "sam_vit_b", "--no-verify", "--set", "description='[red]not[/] markup'")
    assert "[red]not[/] markup" in result.stdout


# -- files -----------------------------------------------------------------------------------------------------------


def test_output_writes_each_format_whole_and_prints_nothing(tmp_path: Path) -> None:
    names = ["report.json", "layers.csv", "report.md", "report.txt"]
    options = [part for name in names for part in ("-o", name)]
    result = samattn("analyze", "sam_vit_b", "--no-verify", *options, cwd=tmp_path)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [f"wrote {name}" for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert from_json((tmp_path / "report.json").read_text("utf-8")).totals.flops == 972_077_334_528
    assert (tmp_path / "report.txt").read_text("utf-8").startswith("sam_vit_b - SAM ViT-B")
    mode = stat.S_IMODE((tmp_path / "report.json").stat().st_mode)
    assert mode == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_verdict_of_a_report_that_goes_to_a_file_is_reported(tmp_path: Path) -> None:
    result = samattn("analyze", "sam_vit_b", "--image-size", "64", "-o", "report.json", cwd=tmp_path)
    assert result.stderr == "wrote report.json\ncross-check exact\n"


def test_verdicts_that_go_to_a_file_are_reported_config_by_config(tmp_path: Path) -> None:
    result = samattn("verify", "sam_vit_b", "none", *ONE_BLOCK, "-o", "v.json", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    said = result.stderr.splitlines()
    assert said[0] == "sam_vit_b: cross-check exact"
    assert said[1].startswith("none: samattn: ")
    assert said[1].endswith("[file-not-found]")
    assert said[2] == "wrote v.json"


def test_output_with_a_format_also_prints(tmp_path: Path) -> None:
    result = samattn("analyze", "sam_vit_b", "--no-verify", "-o", "a.json", "--format", "csv", cwd=tmp_path)
    assert result.stdout.startswith("row,index,name")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (
            "report.jsn",
            ("[unknown-extension]", ".txt, .json, .csv, .md", "'.json'"),
        ),
        ("none/report.json", ("[no-such-directory]", "none")),
        ("folder.json", ("[is-a-directory]",)),
        ("file.txt/report.json", ("[no-such-directory]", "file.txt")),
    ],
)
def test_a_bad_output_is_refused_before_any_work(target: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file.txt").write_text("", "utf-8")
    result = samattn("analyze", "sam_vit_b", "--no-verify", "-o", target, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"-o {target}: ")
    assert all(part in result.stderr for part in parts)
    assert result.stdout == ""


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("before", "utf-8")
    code = (
        "import os, sys; sys.argv = ['samattn', 'analyze', 'sam_vit_b', '--no-verify', '-o', 'report.json']\n"
        "from pathlib import Path\n"
        "def full(*_): raise OSError(28, 'No space left on device')\n"
        "Path.replace = full\n"
        "from samattn_cli.cli import run; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == "-o report.json: No space left on device [cannot-write]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text("utf-8") == "before"


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("before", "utf-8")
    (tmp_path / "link.json").symlink_to("real.json")
    assert samattn("analyze", "sam_vit_b", "--no-verify", "-o", "link.json", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert from_json((tmp_path / "real.json").read_text("utf-8")).totals.flops == 972_077_334_528


def test_files_have_no_colour_whatever_the_terminal_has(tmp_path: Path) -> None:
    colour = {"FORCE_COLOR": "1", "TERM": "xterm"}
    samattn("verify", "sam_vit_b", *ONE_BLOCK, "-o", "v.txt", cwd=tmp_path, **colour)
    samattn("analyze", "sam_vit_b", "--no-verify", "-o", "a.txt", cwd=tmp_path, **colour)
    assert "\x1b" not in (tmp_path / "v.txt").read_text("utf-8") + (tmp_path / "a.txt").read_text("utf-8")


def test_a_folder_named_like_a_preset_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "sam_vit_b").mkdir()
    assert samattn("analyze", "sam_vit_b", "--no-verify", cwd=tmp_path).returncode == 0


# -- bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "missing": ("none.yaml", None, ("samattn: ", "[file-not-found]", "'none.yaml'")),
    "misspelt preset": ("sam_vit_hh", None, ("[file-not-found]", "'sam_vit_h'")),
    "directory": (".", None, ("samattn: '.'", "[is-a-directory]")),
    "empty": ("c.yaml", b"", ("c.yaml: ", "[empty-file]")),
    "binary": ("c.yaml", b"\0\1\2", ("c.yaml: ", "[binary-file]")),
    "not utf-8": ("c.yaml", b"a: \xff", ("c.yaml:1:4: ", "0xff", "[not-utf-8]")),
    "list at the top": ("c.yaml", b"- 1\n", ("c.yaml:1:1: ", "[not-a-mapping]")),
    "not yaml": ("c.yaml", b"a: [1,", ("c.yaml:2:1: ", "while parsing a flow node", "[invalid-yaml]")),
    "unknown key": ("c.yaml", b"extends: sam_vit_b\nwindow: 3\n", ("c.yaml:2:1: ", "'window'", "'window_size'", "[unknown-key]")),
    "duplicate key": ("c.yaml", b"depth: 1\ndepth: 2\n", ("c.yaml:2:1: ", "'depth'", "[duplicate-key]")),
    "wrong type": ("c.yaml", b"extends: sam_vit_b\ndepth: many\n", ("c.yaml:2:8: depth", "[wrong-type]")),
    "heads": ("c.yaml", b"extends: sam_vit_b\nnum_heads: 7\n", ("c.yaml:2:12: num_heads 7", "768", "6 or 8", "[not-divisible]")),
    "index outside": ("c.yaml", b"extends: sam_vit_b\nglobal_attn_indexes: [12]\n", ("c.yaml:2:23: global_attn_indexes", "block 12", "blocks 0 to 11", "[no-such-block]")),
    "index twice": ("c.yaml", b"extends: sam_vit_b\nglobal_attn_indexes: [2, 2]\n", ("c.yaml:2:26: global_attn_indexes", "block 2", "[duplicate-block]")),
    "zero": ("c.yaml", b"extends: sam_vit_b\nimage_size: 0\n", ("c.yaml:2:13: image_size", "at least 1", "[out-of-range]")),
    "negative": ("c.yaml", b"extends: sam_vit_b\nembed_dim: -1\n", ("c.yaml:2:12: embed_dim", "at least 1", "[out-of-range]")),
    "nan": ("c.yaml", b"extends: sam_vit_b\nmlp_ratio: .nan\n", ("c.yaml:2:12: mlp_ratio", "[out-of-range]")),
    "infinite": ("c.yaml", b"extends: sam_vit_b\nmlp_ratio: .inf\n", ("c.yaml:2:12: mlp_ratio", "[out-of-range]")),
    "absurd": ("c.yaml", b"extends: sam_vit_b\nimage_size: 1e30\n", ("c.yaml:2:13: image_size", "1,048,576", "[out-of-range]")),
    "too many digits": ("c.yaml", b"extends: sam_vit_b\nimage_size: " + b"9" * 5000, ("c.yaml:2:13: image_size", "[wrong-type]")),
    "alias bomb": ("c.yaml", b"a: &a [x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((n, n) + (n - 1,) * 8) for n in range(98, 106)), ("10,000", "[too-many-values]")),
    "deep": ("c.yaml", b"[" * 100_000, ("c.yaml:1:33: ", "32", "[too-deep]")),
    "huge": ("c.yaml", b"# " + b"x" * (1 << 21), ("c.yaml: ", "1,048,576", "[file-too-large]")),
    "escape in a name": ("c.yaml", b'extends: sam_vit_b\nname: "\\e[31m"\n', ("c.yaml:2:7: name", "[control-characters]")),
    "extends itself": ("c.yaml", b"extends: c.yaml\n", ("c.yaml:1:10: ", "c.yaml -> c.yaml", "[extends-itself]")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_message_and_exit_2(case: str, tmp_path: Path) -> None:
    reference, content, parts = BAD[case]
    if content is not None:
        (tmp_path / reference).write_bytes(content)
    result = samattn("analyze", reference, cwd=tmp_path)
    assert result.returncode == 2
    assert [part for part in parts if part not in result.stderr] == []
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze", "sam_vit_b", "--set", "depth"), "[not-key-value]"),
        (
            ("analyze", "sam_vit_b", "--set", "stages.3.depth=1"),
            "[not-an-index]",
        ),
        (("analyze", "sam_vit_b", "--dtype", "int8"), "--dtype int8: run.dtype must be 'float32'"),
        (("analyze", "sam_vit_b", "--batch-size", "0"), "--batch-size 0: run.batch_size must be at least 1"),
        (
            ("analyze", "sam_vit_b", "--image-size", "4"),
            "[image-smaller-than-patch]",
        ),
        (
            ("analyze", "sam_vit_b", "--ops", "12"),
            "--ops 12: ",
        ),
        (("analyze", "sam_vit_b", "--ops", "nek"), "did you mean 'neck'?"),
        (("analyze", "sam_vit_b", "--format", "xml"), "[unknown-value]"),
        (("anlyze", "sam_vit_b"), "did you mean 'analyze'?"),
        (("configs", "--show", "sam_vit_g"), "[unknown-name]"),
        (("analyze",), "[missing-argument]"),
    ],
)
def test_bad_options_get_one_clear_message_and_exit_2(arguments: tuple[str, ...], message: str) -> None:
    result = samattn(*arguments, columns=160)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_verify_goes_on_after_a_config_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("embed_dim: x\n", "utf-8")
    result = samattn("verify", "bad.yaml", "sam_vit_b", *ONE_BLOCK, cwd=tmp_path)
    assert result.returncode == 2
    assert "bad.yaml:1:12: embed_dim" in result.stdout
    assert "sam_vit_b  exact       exact   exact            exact" in result.stdout


def test_a_closed_pipe_is_reported_and_is_no_traceback() -> None:
    command = [*SAMATTN, "analyze", "sam_vit_b", "--no-verify", "--format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        message = process.stderr.read()
    assert process.returncode == 2
    assert message.endswith(" [output-closed]\n")
    assert message.count("\n") == 1


def test_a_pipe_closed_for_messages_too_is_no_difference() -> None:
    command = [*SAMATTN, "analyze", "sam_vit_b", "--no-verify", "--format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    ) as process:
        assert process.stdout
        process.stdout.close()
    assert process.returncode == 2


def test_help_wraps_at_the_terminal_alone() -> None:
    for columns, line in (
        (80, "encoder with all layers global and with all layers windowed. A size that an"),
        (200, "with --strict it is an error. With -o and without --format, nothing is printed."),
    ):
        assert line in samattn("sweep", "--help", columns=columns).stdout


def test_options_are_taken_by_the_names_that_they_have_in_other_commands() -> None:
    found, wanted = (
        samattn("sweep", "vit_b", sizes, "224,448", batches, "1,2", metrics, "flops", "-f", "csv").stdout
        for sizes, batches, metrics in (
            ("--image-size", "--batch-size", "--metric"),
            ("--resolutions", "--batch-sizes", "--metrics"),
        )
    )
    assert found == wanted != ""
    assert samattn("measure", "vit_b", "--image-size", "huge").stderr.startswith("--image-size huge: ")


def test_a_full_disk_under_standard_output_is_reported() -> None:
    with Path("/dev/full").open("w") as full:
        command = [*SAMATTN, "analyze", "sam_vit_b", "--no-verify"]
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr == "standard output: No space left on device [cannot-write]\n"


def cpu_seconds(pid: int) -> float:
    """How far a process has come, on a loaded machine too."""
    user, system = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def interrupted_in_a_callback() -> None:
    watched = io.BytesIO()
    kept = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT))
    del watched
    assert kept() is None
    time.sleep(30)


def test_an_interrupt_in_a_callback_is_raised_again(monkeypatch) -> None:
    """Python ignores what the callback of a weak reference raises, and so samattn went on after Ctrl-C."""
    monkeypatch.setattr(sys, "unraisablehook", cli._unraisable)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_in_a_callback()
    finally:
        signal.signal(signal.SIGINT, before)


def imported(spec) -> None:
    spec._initializing = False
    time.sleep(30)


def test_an_interrupt_while_torch_is_imported_comes_after_it(monkeypatch) -> None:
    """torch's C++ drops an interrupt in its import of NumPy, and aborts in that of torch.distributed."""
    spec = SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__spec__=spec))
    before = signal.signal(signal.SIGINT, cli._on_interrupt)
    try:
        signal.raise_signal(signal.SIGINT)
        time.sleep(5 * cli.AGAIN_S)
        with pytest.raises(KeyboardInterrupt):
            imported(spec)
    finally:
        signal.signal(signal.SIGINT, before)


INTERRUPTED_IMPORT = """
import runpy, signal, sys, weakref
class Watched: pass
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            del sys.argv[1]
            {interrupt}
sys.meta_path.insert(0, Interrupting())
{start}
"""
PLAINLY = "signal.raise_signal(signal.SIGINT)"
IN_A_CALLBACK = "watched = Watched(); self.kept = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT)); del watched"
AS_MODULE = "runpy.run_module('samattn_cli', run_name='__main__')"


def as_installed() -> str:
    """What the script does that pip installs."""
    script = re.search(r'^samattn = "(.+):(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert script
    return f"from {script[1]} import {script[2]}; {script[2]}()"


@pytest.mark.parametrize(
    ("imported", "interrupt", "start"),
    [
        ("samattn_cli.errors", PLAINLY, AS_MODULE),
        ("samattn_cli.errors", IN_A_CALLBACK, AS_MODULE),
        ("samattn_cli.cli", PLAINLY, as_installed()),
        ("samattn_cli.cli.app", PLAINLY, as_installed()),
    ],
)
def test_an_interrupt_while_samattn_starts_prints_no_traceback(
    imported: str, interrupt: str, start: str
) -> None:
    code = INTERRUPTED_IMPORT.format(interrupt=interrupt, start=start)
    command = [sys.executable, "-c", code, imported, "configs"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_while_the_last_text_is_flushed_prints_no_traceback() -> None:
    code = (
        "import signal, sys\nsys.stderr.flush = lambda: signal.raise_signal(signal.SIGINT)\n" + as_installed()
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_exits_130_with_nothing_half_written(tmp_path: Path) -> None:
    command = [*SAMATTN, "verify", *["sam_vit_h"] * 20, "-o", "verdicts.json"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=environment(), text=True, cwd=tmp_path, start_new_session=True
    ) as process:
        while process.poll() is None and cpu_seconds(process.pid) < 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        message = process.stderr.read()
    assert process.returncode == 130
    assert message.endswith("samattn: interrupted\n")
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []
