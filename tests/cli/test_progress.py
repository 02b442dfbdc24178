"""How far a long command is: with an amount, on standard error, where that is a terminal."""

import os
import pty
import re
import subprocess
from contextlib import suppress
from math import comb

from samattn_cli import compare_placements, fit, load_config, load_device, sweep
from samattn_cli.studies.fit import Asked
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.placements.exhaustive import asked
from samattn_cli.studies.plan import Goal, plan
from tests.support.running import PATIENCE_S, SAMATTN, environment, samattn
from tests.support.thresholds_files import SMALL as SMALL_ENCODER
from tests.support.thresholds_files import checked

SMALL = [
    "image_size=128",
    "embed_dim=32",
    "depth=2",
    "num_heads=2",
    "window_size=4",
    "global_attn_indexes=[1]",
]


class Told(list[tuple[int, int]]):
    """Every amount that was told."""

    def __call__(self, done: int, of: int) -> None:
        self.append((done, of))


def test_fit_tells_its_answers():
    """Of three things that vary, under one kernel, in two modes."""
    told = Told()
    report = fit(load_config("sam_vit_b", SMALL), 64 << 20, Asked(kernels=["eager"]), tell=told)
    assert told == [(done, 6) for done in range(7)]
    assert len(report.answers) == 6


def test_fit_tells_no_answers_of_kernels_that_are_not_modelled():
    told = Told()
    fit(load_config("swinv2_t"), 64 << 20, Asked(vary=("batch_size",)), tell=told)
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_sweep_tells_its_points():
    told = Told()
    grid = Grid(resolutions=((64, 64), (96, 96), (128, 128)))
    sweep(["sam_vit_b", "sam_vit_l"], grid, ["flops"], tell=told)
    assert told == [(0, 6), (3, 6), (6, 6)]


def test_plan_tells_its_choices():
    told = Told()
    goal = Goal(gpus=1, global_batch=1, given=frozenset({"attention", "autocast"}))
    report = plan(load_config("sam_vit_b", SMALL), [load_device("a100_80")], goal, tell=told)
    of = len(report.choices)
    assert set(told) == {(done, of) for done in range(of + 1)}
    assert told == sorted(told)


def test_check_tells_each_rule_on_each_config(tmp_path):
    """Two rules on two configs, one of them on one alone."""
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "other.yaml").write_text(SMALL_ENCODER, "utf-8")
    told = Told()
    rules = "  - {id: flops, metric: flops, limit: 1 TFLOP}\n  - {id: p, metric: params, limit: 1 G, match: '**/other.yaml'}"
    report = checked(tmp_path, rules, tell=told)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [result.outcome for result in report.results] == ["pass"] * 3


def test_a_search_tells_its_placements():
    told = Told()
    compare_placements(load_config("sam_vit_b"), search=asked("1:3", None, None), tell=told)
    of = comb(12, 1) + comb(12, 2) + comb(12, 3)
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, of), (of, of))


def test_an_amount_is_shown_on_a_terminal_and_nothing_in_a_pipe():
    arguments = ["fit", "vit_b", "--memory", "2GiB", "--attention", "eager", "-f", "json"]
    shown, ours = pty.openpty()
    environ = environment(TERM="xterm", COLUMNS="80")
    running = subprocess.Popen([*SAMATTN, *arguments], stdout=subprocess.DEVNULL, stderr=ours, env=environ)
    os.close(ours)
    text = b""
    with suppress(OSError):  # the end of a terminal
        while read := os.read(shown, 1 << 16):
            text += read
    assert running.wait(PATIENCE_S) == 0
    os.close(shown)
    found = re.findall(r"working out every size: (\d+) of 6 answers", text.decode())
    assert found
    assert samattn(*arguments).stderr == ""
