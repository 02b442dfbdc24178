"""Formulas hold at other sizes: their numbers there are those of a pass there, for every part, block and operation."""

from functools import partial

import pytest

from samattn_cli import load_config
from samattn_cli.figures import EXPLAINED, FIGURES
from samattn_cli.render import render
from samattn_cli.render.options import Options
from samattn_cli.studies.explain import explain
from samattn_cli.studies.readers import of_op
from samattn_cli.studies.symbolic import symbolic
from samattn_cli.studies.validity import elsewhere
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.symbols.formula import value_at
from tests.support.sampling import sampled
from tests.support.shapes import ONE_OF_EACH_SHAPE

OF_OPS = {name: partial(of_op, FIGURES[name]) for name in EXPLAINED if FIGURES[name].op_keys}
WORK = ("macs", "flops", "params")


def kernels(recording):
    return [op for op in recording.ops if op.is_kernel]


@pytest.mark.parametrize("name", sampled(ONE_OF_EACH_SHAPE, 3))
def test_the_formula_of_every_operation_gives_its_figure_at_two_other_batches_and_images(name):
    config = load_config(name)
    places = elsewhere(config)
    assert [place.name.split()[0] for place in places] == ["batch", "batch", "image", "image"]
    compared = dict.fromkeys(places, 0)
    segments = {segment.recording: segment for segment in forward(config).segments}
    for segment in segments.values():
        formulas = kernels(symbolic(config, segment).recording)
        for place in places:
            there, points = kernels(place.segments[segment.name][0].recording), place.values(segment.name)
            if [op.name for op in there] != [op.name for op in formulas]:
                continue  # a copy that one image does not need, padding, windows that are run one by one
            for formula, op in zip(formulas, there, strict=True):
                for metric, read in OF_OPS.items():
                    assert value_at(read(formula), points) == read(op), (
                        place.name,
                        segment.name,
                        op.name,
                        metric,
                    )
            compared[place] += 1
    assert all(compared.values())


@pytest.mark.parametrize(
    "name",
    sampled(["sam2_hiera_t", "sam2_hiera_l", "deep_encoder", "mae_b_pretrain", "qwen2_5_vl_vision"], 3),
)
def test_a_part_with_taps_has_one_formula_at_every_batch(name):
    config = load_config(name)
    for part in (part.name for part in config.plan if part.taps and not part.name.startswith("blocks")):
        for metric in ("macs", "bytes_read"):
            once = explain(config, part, metric)
            twice = explain(load_config(name, "run.batch_size=2"), part, metric)
            assert once.formula == twice.formula != ""
            assert {row.formula for row in once.rows} == {row.formula for row in twice.rows}


def test_the_neck_of_sam_2_has_the_sizes_of_the_other_levels_as_symbols():
    """The constant 16515072 that was here is 256² 144 + 128² 288 + 64² 576, of one image of 1024 pixels."""
    neck = explain(load_config("sam2_hiera_l"), "neck")
    assert neck.formula == "B*O*(H*W*C + H1*W1*C1 + H2*W2*C2 + H3*W3*C3)"
    values = {symbol.name: symbol.value for symbol in neck.symbols}
    assert [values[f"H{level}"] * values[f"W{level}"] * values[f"C{level}"] for level in (1, 2, 3)] == [
        256**2 * 144,
        128**2 * 288,
        64**2 * 576,
    ]
    assert neck.value == 256 * (32**2 * 1152 + 16_515_072)
    assert explain(load_config("sam2_hiera_l", "run.batch_size=2"), "neck").value == 2 * neck.value
    meanings = {symbol.name: symbol.meaning for symbol in neck.symbols}
    assert meanings["H3"] == "tokens down the grid of blocks.43"
    assert r"H_{1} \, W_{1} \, C_{1}" in render(neck, "latex", Options())


def test_windows_that_are_run_one_by_one_have_no_formula_but_their_operations_do():
    """The sibling: two images of Qwen2.5-VL have 162 windows, each a few operations, where one has 81."""
    block = explain(load_config("qwen2_5_vl_vision"), "0")
    assert (block.formula, block.symbols) == ("", ())
    assert [row.formula for row in block.rows if row.name == "attn.scores"] == ["w**4*C"]
    assert "At this size" in render(block, "terminal", Options())
    whole = explain(load_config("qwen2_5_vl_vision"))
    assert whole.value == sum(len(row.names) * row.value for row in whole.rows)
    assert "at this size" in render(whole, "markdown", Options())


def test_sizes_at_which_other_operations_run_are_named():
    """Of several images SAM's heads are copied apart, of one they are a view."""
    assert explain(load_config("sam_vit_b"), "2", "peak_bytes").not_at == ("batch 2", "batch 3")
    assert explain(load_config("sam_vit_b"), "2", "macs").not_at == ()
