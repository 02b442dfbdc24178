import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.device.load import load_device
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.files.load import load_config, load_located
from samattn_cli.gate.git import Tree, repository
from samattn_cli.reports.diff import Diff, KeyChange, LayerChange, Place
from samattn_cli.reports.text import from_json, to_json
from samattn_cli.studies.causes import MOST_LINES, causes
from samattn_cli.studies.diff import diff, key_changes, places_in
from samattn_cli.studies.passes import Passes
from tests.support.repositories import VIT, commit, git, new, write
from tests.support.running import samattn

SMALL = {"image_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 4, "num_heads": 4, "window_size": 2}
STAGES = [
    {"embed_dim": 32, "depth": 2, "num_heads": 2, "window_size": 2},
    {"embed_dim": 32, "depth": 4, "num_heads": 2, "window_size": 4},
]
SUMS = ("params", "macs", "flops", "elementwise_flops", "attention_bytes")
"""Figures of an encoder that are the sum of those of its parts and layers."""


def small(**keys: object) -> EncoderConfig:
    return load_config(SMALL | keys)


def staged(*stages: dict[str, object], **keys: object) -> EncoderConfig:
    return load_config({"image_size": 128, "patch_size": 16, "stages": [*stages], **keys})


def between(before: EncoderConfig, after: EncoderConfig, **named) -> Diff:
    return diff(Passes(before), Passes(after), **named)


def keys(before: EncoderConfig, after: EncoderConfig) -> list[str]:
    return [change.text for change in key_changes(before, after)]


def names(report: Diff, change: str) -> list[str]:
    return [layer.name for layer in report.layers if layer.change == change]


class TestKeys:
    def test_keys_are_called_as_people_write_them(self) -> None:
        after = small(window_size=[2, 4], global_attn_indexes=[1, 3], neck="sam", run={"dtype": "bfloat16"})
        assert keys(small(global_attn_indexes=[0, 3]), after) == [
            "neck: none -> sam",
            "window_size: 2 -> [2, 4]",
            "global_attn_indexes: added 1; removed 0",
            "run.dtype: float32 -> bfloat16",
        ]

    def test_of_several_stages_each_has_its_number(self) -> None:
        after = staged(STAGES[0], STAGES[1] | {"depth": 3})
        assert keys(staged(*STAGES), after) == ["stages.1.depth: 4 -> 3"]

    def test_a_stage_more_is_one_change(self) -> None:
        added = {"embed_dim": 32, "depth": 1, "num_heads": 1, "window_size": 8}
        words = "embed_dim 32, depth 1, num_heads 1, window_size 8"
        assert keys(staged(*STAGES), staged(*STAGES, added)) == [f"stages.2: added ({words})"]
        assert keys(staged(*STAGES, added), staged(*STAGES)) == [f"stages.2: removed ({words})"]

    def test_overrides(self) -> None:
        two = [{"blocks": [1], "window_size": 4}, {"blocks": [2, 3], "num_heads": 2}]
        after = [{"blocks": [1], "window_size": 0}]
        assert keys(small(overrides=two), small(overrides=after)) == [
            "overrides.0.window_size: 4 -> 0",
            "overrides.1: removed (blocks [2, 3], num_heads 2)",
        ]

    def test_a_name_costs_nothing_and_optional_keys_may_be_none(self) -> None:
        after = small(name="other", description="Other", rel_pos="decomposed", rel_pos_grid=8)
        assert keys(small(rel_pos="decomposed"), after) == ["rel_pos_grid: none -> 8"]

    def test_words_of_yaml(self) -> None:
        assert keys(small(), small(norm=True)) == ["norm: false -> true"]

    def test_places_are_in_the_later_file_and_what_it_extends(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, {"base.yaml": VIT, "own.yaml": "extends: base.yaml\nnum_heads: 2\n"})
        place = places_in(load_located("own.yaml", "run.dtype=float16"))
        assert place("num_heads") == Place("own.yaml", 2, 1)
        assert str(place("window_size")) == "base.yaml:6:1"
        assert place("norm") == Place("own.yaml")  # a key that is there no more
        assert place("run.dtype") is None  # an option's
        (change,) = key_changes(load_config("base.yaml"), load_config("own.yaml"), place)
        assert change == KeyChange("num_heads", 4, 2, Place("own.yaml", 2, 1))

    def test_presets_are_no_place_to_edit(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, {"own.yaml": "extends: sam_vit_b\nneck: none\n"})
        assert places_in(load_located("sam_vit_b"))("depth") is None
        assert places_in(load_located("own.yaml"))("depth") == Place("own.yaml")


class TestLayers:
    PAIRS = (
        (small(), small(global_attn_indexes=[1], depth=6)),
        (small(), small(neck="sam", run={"attention": "sdpa"})),
        (staged(*STAGES), staged(*STAGES, STAGES[0])),
        (staged(*STAGES), small()),
        (load_config("swin_t"), load_config("swin_s")),
        (load_config("mae_b_pretrain"), load_config("vit_b")),
        (load_config("sam_vit_b"), load_config("sam_vit_b", "run.dtype=bfloat16")),
    )

    @pytest.mark.parametrize(("before", "after"), PAIRS)
    def test_what_layers_change_is_what_the_encoder_changes(self, before, after) -> None:
        report = between(before, after)
        for metric in SUMS:
            (total,) = (total for total in report.totals if total.metric == metric)
            found = [(layer, layer.figure(metric)) for layer in report.layers]
            assert total.change == sum(figure.change * len(layer.names) for layer, figure in found if figure)

    @pytest.mark.parametrize(("before", "after"), PAIRS)
    def test_backwards_it_is_the_opposite(self, before, after) -> None:
        forth, back = between(before, after), between(after, before)
        assert [total.change for total in forth.totals] == [-total.change for total in back.totals]
        assert len(forth.keys) == len(back.keys)
        assert forth.costs_differ is back.costs_differ is True

    @pytest.mark.parametrize("config", [small(), load_config("swin_t")])
    def test_nothing_changes_from_an_encoder_to_itself(self, config) -> None:
        report = between(config, config)
        assert (report.keys, report.layers, report.causes, report.costs_differ) == ((), (), (), False)

    def test_one_layer_made_global(self) -> None:
        report = between(
            load_config("sam_vit_h"), load_config("sam_vit_h", "global_attn_indexes=[3,7,15,23,31]")
        )
        (layer,) = report.layers
        assert (layer.names, layer.change, layer.attention) == (
            ("blocks.3",),
            "changed",
            "window 14x14 -> global",
        )
        assert layer.figure("flops").text == "176.9 -> 248.3 GFLOP"

    def test_layers_that_changed_alike_stand_together(self) -> None:
        report = between(small(global_attn_indexes=[1]), small(global_attn_indexes=[1], window_size=4))
        (layer,) = report.layers
        assert (layer.name, layer.indexes) == ("blocks.0, 2-3", (0, 2, 3))

    def test_a_layer_in_front_does_not_change_all(self) -> None:
        before = small(depth=6, global_attn_indexes=[2, 5])
        report = between(before, small(depth=7, global_attn_indexes=[3, 6]))
        (layer,) = report.layers
        assert (layer.name, layer.change, layer.attention) == ("blocks.0", "added", "window 2x2")
        back = between(small(depth=7, global_attn_indexes=[3, 6]), before)
        assert (names(back, "removed"), names(back, "changed")) == (["blocks.0"], [])

    def test_a_layer_more_in_an_early_stage(self) -> None:
        report = between(staged(*STAGES), staged(STAGES[0] | {"depth": 3}, STAGES[1]))
        assert (len(names(report, "added")), names(report, "changed")) == (1, [])
        assert names(report, "added")[0] in {"blocks.0", "blocks.1", "blocks.2"}  # all alike

    def test_layers_that_moved_and_changed_say_what_they_were(self) -> None:
        after = staged(STAGES[0] | {"depth": 1}, STAGES[1] | {"num_heads": 1})
        report = between(staged(*STAGES), after)
        (changed,) = (layer for layer in report.layers if layer.change == "changed")
        assert names(report, "removed") == ["blocks.1"]
        assert changed.names == ("blocks.1", "blocks.2", "blocks.3", "blocks.4")
        assert changed.former == ("blocks.2", "blocks.3", "blocks.4", "blocks.5")

    def test_parts_that_come_and_go(self) -> None:
        report = between(small(pos_embed="none"), small(neck="sam", pos_embed="learned", patch_size=8))
        assert set(names(report, "added")) == {"neck", "pos_embed"}
        assert "patch_embed" in names(report, "changed")

    def test_latency_with_a_device(self) -> None:
        device = load_device("h100")
        report = diff(Passes(small(), device), Passes(small(window_size=4), device), metric="latency")
        changed = {total.metric for total in report.totals}
        assert {"latency_ms", "allocated_bytes", "peak_temporaries_bytes"} <= changed
        assert [peak.metric for peak in report.peaks] == ["peak_bytes", "training_bytes", "allocated_bytes"]
        assert any(layer.figure("latency_ms") for layer in report.layers)


class TestCauses:
    def test_keys_then_layers(self) -> None:
        report = between(
            load_config("sam_vit_h"), load_config("sam_vit_h", "global_attn_indexes=[3,7,15,23,31]")
        )
        assert (
            report.causes
            == causes(report, "flops")
            == (
                "global_attn_indexes: added 3",
                "blocks.3: 176.9 -> 248.3 GFLOP (window 14x14 -> global)",
            )
        )

    def test_what_sets_a_peak(self) -> None:
        before = load_config("sam_vit_b", "global_attn_indexes=[]")
        report = between(before, load_config("sam_vit_b", "global_attn_indexes=[7]"))
        keys, peak, *layers = causes(report, "peak_memory")
        assert keys == "global_attn_indexes: added 7"
        assert peak.startswith("peak_bytes: ")
        assert peak.endswith(" at blocks.7.attn.add_rel_w")
        assert layers == ["blocks.7: score matrices 43.96 -> 768.0 MiB (window 14x14 -> global)"]

    def test_in_training_the_peak_is_that_of_a_step(self) -> None:
        training = {"mode": "training"}
        report = between(
            small(image_size=512, run=training), small(image_size=512, run=training | {"checkpointing": True})
        )
        keys, peak, *layers = causes(report, "peak_memory")
        assert (keys, peak[:15]) == ("run.checkpointing: false -> true", "training_bytes:")
        assert all("kept for backward" in line for line in layers)

    def test_of_one_layer_and_of_a_kind(self) -> None:
        report = between(
            small(global_attn_indexes=[0]), small(global_attn_indexes=[0], embed_dim=128, num_heads=8)
        )
        kinds = [line for line in causes(report, "layers.window.flops") if line.startswith("blocks")]
        assert [line.partition(":")[0] for line in kinds] == ["blocks.1-3"]
        (one,) = (line for line in causes(report, "layers.0.attention_memory") if line.startswith("blocks"))
        assert one.startswith("blocks.0: score matrices ")
        assert not any(line.startswith("neck") for line in causes(report, "parts.patch_embed.params"))
        assert causes(report, "attention_memory_saving_per_head")[-1].startswith("blocks.1-3: score matrices")
        assert all(line.endswith(("params", "params each")) for line in causes(report, "weights_memory")[2:])

    def test_the_worst_comes_first_whichever_way_it_goes(self) -> None:
        report = between(small(embed_dim=64), small(embed_dim=128, num_heads=8, neck="sam"))
        layers = [line.partition(":")[0] for line in causes(report, "flops")[3:]]
        sizes = {
            layer.name: layer.figure("flops").change * len(layer.names)
            for layer in report.layers
            if layer.figure("flops")
        }
        assert layers == sorted(sizes, key=lambda name: -sizes[name])
        less = between(report.after_config, report.before_config)
        assert causes(less, "flops")[3].partition(":")[0] == layers[0]

    def test_no_more_lines_than_anyone_reads(self) -> None:
        runs = {
            "dtype": "float16",
            "batch_size": 2,
            "mode": "training",
            "optimizer": "sgd",
            "attention": "sdpa",
        }
        overrides = [{"blocks": [index], "mlp_ratio": 1.0 + index} for index in range(12)]
        after = small(depth=12, overrides=overrides, num_heads=2, run=runs)
        found = causes(between(small(depth=12, num_heads=4), after), "flops")
        assert len(found) == MOST_LINES
        assert found[3].endswith("more keys")
        assert found[-1].startswith("and ")
        assert found[-1].endswith(" more")


def test_a_report_comes_back_from_json() -> None:
    report = between(
        small(), small(window_size=4, global_attn_indexes=[1]), place=lambda _: Place("x.yaml", 1, 2)
    )
    found = from_json(to_json(report))
    assert isinstance(found, Diff)
    assert to_json(found) == to_json(report)  # whole numbers stay whole: 89670912, not 89670912.0
    assert (found.totals, found.layers, found.causes, found.peaks) == (
        report.totals,
        report.layers,
        report.causes,
        report.peaks,
    )
    assert isinstance(found.layers[0], LayerChange)
    assert json.loads(to_json(report))["keys"][0]["place"] == {"file": "x.yaml", "line": 1, "column": 2}


class TestCommand:
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch) -> Path:
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GITHUB_ACTIONS", "GITLAB_CI"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        root = new(
            tmp_path / "repository",
            {"encoders/h.yaml": VIT, "encoders/g.yaml": "extends: h.yaml\ndepth: 2\n"},
        )
        write(
            root, {"encoders/h.yaml": VIT.replace("global_attn_indexes: [1]", "global_attn_indexes: [1, 3]")}
        )
        return root

    def test_a_ref_and_a_file(self, root: Path) -> None:
        result = samattn("diff", "main:encoders/h.yaml", "encoders/h.yaml", cwd=root)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("main:encoders/h.yaml → encoders/h.yaml\n")
        assert "- global_attn_indexes: added 3  (encoders/h.yaml:7:1)" in result.stdout
        assert all(len(line) <= 80 for line in result.stdout.splitlines())

    @pytest.mark.parametrize(
        "arguments", [("main:encoders/h.yaml",), ("encoders/h.yaml",), ("encoders/h.yaml", "--base", "auto")]
    )
    def test_one_of_them_alone(self, root: Path, arguments: tuple[str, ...]) -> None:
        result = samattn("diff", *arguments, "--format", "json", cwd=root)
        report = json.loads(result.stdout)
        assert report["after"] == "encoders/h.yaml"
        assert report["before"] in {"main:encoders/h.yaml", "HEAD:encoders/h.yaml"}
        assert report["causes"][0] == "global_attn_indexes: added 3"

    def test_what_it_extends_is_as_it_was(self, root: Path) -> None:
        write(root, {"encoders/h.yaml": VIT.replace("window_size: 2", "window_size: 4")})
        result = samattn("diff", "encoders/g.yaml", cwd=root)
        assert "- window_size: 2 → 4  (encoders/h.yaml:6:1)" in result.stdout

    def test_from_below_and_renamed(self, root: Path) -> None:
        git(root, "mv", "encoders/h.yaml", "encoders/huge.yaml")
        for arguments in (
            ("main:encoders/h.yaml",),
            ("main:./h.yaml",),
            ("huge.yaml",),
            ("main:encoders/h.yaml", "huge.yaml"),
        ):
            result = samattn("diff", *arguments, cwd=root / "encoders")
            assert "global_attn_indexes: added 3  (huge.yaml:7:1)" in result.stdout, result.stderr

    def test_the_base_is_where_a_branch_left(self, root: Path) -> None:
        git(root, "checkout", "-q", "-b", "feature")
        commit(root)
        git(root, "checkout", "-q", "main")
        commit(root, {"encoders/h.yaml": VIT.replace("depth: 4", "depth: 8")})
        git(root, "checkout", "-q", "feature")
        result = samattn("diff", "encoders/h.yaml", "--base", "main", "--exit-code", cwd=root)
        assert result.returncode == 1
        assert "added 3" in result.stdout
        assert "depth" not in result.stdout.partition("Encoder")[0]

    def test_exit_codes(self, root: Path) -> None:
        assert samattn("diff", "sam_vit_b", "sam_vit_b", "--exit-code").returncode == 0
        assert samattn("diff", "sam_vit_b", "--set-after", "run.tf32=true", "--exit-code").returncode == 0
        assert samattn("diff", "encoders/h.yaml", cwd=root).returncode == 0
        assert samattn("diff", "encoders/h.yaml", "--exit-code", cwd=root).returncode == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ("sam_vit_b",),
                "--set-after KEY=VALUE [nothing-to-compare]",
            ),
            (("main:encoders/i.yaml",), "'encoders/i.yaml' in main"),
            (("main:h.yaml",), "did you mean 'encoders/h.yaml'? [not-in-commit]"),
            (("main:sam_vit_b",), "write sam_vit_b [not-in-commit]"),
            (("main:",), "[missing-path]"),
            (("mian:encoders/h.yaml",), "there is no commit 'mian' here; did you mean 'main'?"),
            (("nothing.yaml",), "nothing.yaml: "),
            (("nothing.yaml", "sam_vit_b"), "[file-not-found]"),
            (("sam_vit_b", "sam_vit_l", "--base", "main"), "[conflicting-options]"),
            (
                ("sam_vit_b", "sam_vit_l", "--metric", "flop"),
                "--metric flop: unknown metric 'flop'; did you mean 'flops'? [unknown-metric]",
            ),
            (
                ("sam_vit_b", "sam_vit_l", "--metric", "layers.90.flops"),
                "no '90' here",
            ),
            (("sam_vit_b", "--set-after", "depth=0"), "--set-after depth=0: "),
            (("encoders/new.yaml",), "'encoders/new.yaml' in HEAD"),
            (("main:../x.yaml",), "[outside-repository]"),
            (("a" * 5000 + ":x",), "there is no commit 'aaa"),
            (("a" * 5000,), "[nothing-to-compare]"),
            (("main:gone.yaml",), "[file-not-found]"),
        ],
    )
    def test_bad_input(self, root: Path, monkeypatch, arguments: tuple[str, ...], said: str) -> None:
        commit(root, {"gone.yaml": "extends: sam_vit_b\nneck: none\n"})
        (root / "gone.yaml").unlink()
        write(root, {"encoders/new.yaml": "extends: sam_vit_l\nname: new\n"})
        monkeypatch.chdir(root)
        result = CliRunner().invoke(app, ["diff", *arguments])
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr

    def test_below_the_folder_it_is_reported_how(self, root: Path) -> None:
        result = samattn("diff", "main:h.yaml", cwd=root / "encoders")
        assert "in main" in result.stderr
        assert "write REF:./h.yaml" in result.stderr

    def test_outside_of_a_repository(self, root: Path, tmp_path: Path) -> None:
        write(tmp_path, {"x.yaml": VIT})
        result = samattn("diff", "x.yaml", cwd=tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
        assert (result.returncode, "[no-repository]" in result.stderr) == (2, True)
        result = samattn("diff", "main:encoders/h.yaml", "../x.yaml", cwd=root)
        assert "→ ../x.yaml" in result.stdout

    def test_files_are_written(self, root: Path, tmp_path: Path) -> None:
        outputs = [
            argument
            for suffix in ("csv", "md", "json", "parquet")
            for argument in ("-o", str(tmp_path / f"d.{suffix}"))
        ]
        (root / "encoders/h.yaml").write_text(VIT.replace("[1]", "[1, 3]") + "qkv_bias: false\n", "utf-8")
        result = samattn("diff", "encoders/h.yaml", *outputs, cwd=root)
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
        assert (
            (tmp_path / "d.csv")
            .read_text()
            .startswith("row,layer,former,change,attention,figure,before,after,")
        )
        assert (tmp_path / "d.md").read_text().startswith("# HEAD:encoders/h.yaml → encoders/h.yaml")

    def test_git_is_not_needed_for_files(self, root: Path, tmp_path: Path) -> None:
        write(tmp_path, {"a.yaml": VIT})
        result = samattn("diff", "a.yaml", "sam_vit_b", cwd=tmp_path, PATH="/nonexistent")
        assert result.returncode == 0, result.stderr
        result = samattn("diff", "main:encoders/h.yaml", cwd=root, PATH="/nonexistent")
        assert (result.returncode, "git is not installed" in result.stderr) == (2, True)


def test_a_tree_gives_the_same_config_as_the_disk(tmp_path: Path, monkeypatch) -> None:
    root = new(tmp_path, {"h.yaml": VIT})
    monkeypatch.chdir(root)
    here = repository()
    at_head = load_config("h.yaml", files=Tree(here, here.commit("HEAD")))
    assert at_head == load_config("h.yaml")
