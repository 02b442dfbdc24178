"""Formulas that a person reads are those that the report counts by: for every operation of every preset."""

import json
import math
from fractions import Fraction
from functools import cache, partial
from itertools import product

import pytest

from samattn_cli import analyze, load_config
from samattn_cli.errors import UsageError
from samattn_cli.figures import EXPLAINED, FIGURES
from samattn_cli.render import render
from samattn_cli.render.formulas import escaped, latex, unicode, with_numbers
from samattn_cli.render.options import Options
from samattn_cli.render.pages.explanation import page
from samattn_cli.studies.explain import WRITER, explain
from samattn_cli.studies.layers import PART, segments_of
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.readers import of_op
from samattn_cli.studies.symbolic import symbolic
from samattn_cli.tape.encoder import forward
from tests.support.running import samattn
from tests.support.sampling import sampled
from tests.support.shapes import ONE_OF_EACH_SHAPE

OF_OPS = {name: partial(of_op, FIGURES[name]) for name in EXPLAINED if FIGURES[name].op_keys}
FUNCTIONS = {
    "ceil": lambda quotient: Fraction(math.ceil(quotient)),
    "floor": lambda quotient: Fraction(math.floor(quotient)),
    "max": max,
}


def number_of(formula: str, values: dict[str, int]) -> int:
    """What Python makes of the text of a formula, quotients exact."""
    names = {name: Fraction(value) for name, value in values.items()}
    return eval(formula, FUNCTIONS | names)


@pytest.mark.parametrize("name", sampled(ONE_OF_EACH_SHAPE, 3))
def test_the_formula_of_every_operation_gives_the_figure_of_the_report(name):
    config = load_config(name)
    reported = {
        name: [op for op in PART["ops"](at) if op.phase == "forward"]
        for name, at in segments_of(Passes(config)).items()
    }
    seen = set()
    for segment in forward(config).segments:
        if segment.recording in seen:
            continue
        seen.add(segment.recording)
        found = symbolic(config, segment)
        points = found.space.points
        values = points | ({"C": points["h"] * points["d"]} if "h" in points else {})
        ops = [op for op in found.recording.ops if op.is_kernel]
        assert [op.name for op in ops] == [op.name for op in reported[segment.name]]
        for op, reported_op in zip(ops, reported[segment.name], strict=True):
            for metric, read in OF_OPS.items():
                text = WRITER(read(op))
                reported_figure = sum(getattr(reported_op, key) for key in FIGURES[metric].op_keys)
                assert number_of(text, values) == reported_figure, (op.name, metric, text)


HERE_ALONE = {
    ("sam2_hiera_t", "peak_bytes"): ["pos_embed"],
    ("mae_b_pretrain", "peak_bytes"): ["blocks.0"],
}
"""Parts whose peak moves to another operation with more images or larger ones, so that no formula of it holds."""

FAMILIES = [
    "sam_vit_h",
    "swin_t",
    "sam2_hiera_t",
    "vitdet_b_fpn",
    "sam3_vision",
    "mae_b_pretrain",
    "deep_encoder",
]


@cache
def reported(name):
    return analyze(load_config(name), verify=False)


@pytest.mark.parametrize(
    ("name", "metric"),
    sampled(
        product(
            [*FAMILIES, "swinv2_t", "med_sam_adapter_b", "sam_vit_b_lora"],
            ["macs", "params", "attention_bytes", "peak_bytes"],
        ),
        3,  # each encoder, and each figure of a third of them
    ),
)
def test_an_encoder_and_its_layers_have_the_figures_of_the_report(name, metric):
    report = reported(name)
    whole = explain(load_config(name), "", metric)
    assert whole.value == getattr(report.totals, metric)
    for place in (*report.parts, *report.layers):
        if hasattr(place, metric):
            row = next((row for row in whole.rows if place.name in row.names), None)
            assert (row.value if row else 0) == getattr(place, metric)
    here_alone = [row.name for row in whole.rows if not row.formula]
    assert here_alone == HERE_ALONE.get((name, metric), [])
    for row in (row for row in whole.rows if row.formula):
        values = {symbol.name: symbol.value for symbol in row.symbols}
        assert number_of(row.formula, values) == row.value
        assert number_of(with_numbers(row.formula, values), {}) == row.value


def test_the_formulas_of_sam_are_those_that_are_worked_out_by_hand():
    """Of B images of H x W tokens: qkv and proj 4 C², the MLP 2 C M, both products of attention 2 N C each."""
    config = load_config("sam_vit_h")
    assert explain(config, "7.attn.scores").formula == "B*H**2*W**2*C"
    assert explain(config, "blocks.7").formula == "B*H*W*C*(2*H*W + 2*M + 4*C + H + W)"
    windowed = explain(config, "0.attn.scores")
    assert windowed.formula == "B*ceil(H/w)*ceil(W/w)*w**4*C"
    assert windowed.value == 25 * 196 * 196 * 1280
    assert {symbol.name: symbol.value for symbol in windowed.symbols} == {
        "B": 1,
        "H": 64,
        "W": 64,
        "w": 14,
        "C": 1280,
    }
    scores = explain(config, "0", "attention_bytes")
    assert (scores.formula, scores.value) == ("4*B*ceil(H/w)*ceil(W/w)*w**4*h", 16 * 3_841_600)
    assert explain(config, "patch_embed", "params").formula == "C*(p**2*c + 1)"


def test_a_module_is_explained_by_its_operations():
    found = explain(load_config("sam_vit_b"), "0.attn")
    assert found.rows[0].name == "attn.qkv"
    assert sum(row.value for row in found.rows) == found.value
    assert {row.name.partition(".")[0] for row in found.rows} == {"attn"}


def test_operations_of_one_name_and_formula_stand_together():
    found = explain(load_config("qwen2_5_vl_vision"), "0.attn.scores")
    assert [(row.name, len(row.names)) for row in found.rows] == [("attn.scores", 81)]
    assert found.value == 81 * found.rows[0].value


@pytest.mark.parametrize(
    ("formula", "line", "math"),
    [
        ("2*B*H**2", "2·B·H²", r"2 \, B \, H^{2}"),
        ("C*(a + 12)", "C·(a + 12)", r"C \, \left(a + 12\right)"),
        ("ceil((H + 1)/w)*w**2", "⌈(H + 1)/w⌉·w²", r"\left\lceil \frac{H + 1}{w} \right\rceil \, w^{2}"),
        ("max(a, b - 2)", "max(a, b - 2)", r"\max\left(a,\; b - 2\right)"),
        ("floor(h/(2*w))", "⌊h/(2·w)⌋", r"\left\lfloor \frac{h}{2 \, w} \right\rfloor"),
        ("64**2*14", "64²·14", r"64^{2} \cdot 14"),
    ],
)
def test_formulas_are_shown_as_people_write_them(formula, line, math):
    assert unicode(formula) == line
    assert latex(formula) == math


NO_SUCH_LAYER = (
    "no such layer or part; the encoder has blocks.0 to blocks.11, and patch_embed, pos_embed, neck"
)


@pytest.mark.parametrize(
    ("where", "metric", "message"),
    [
        (
            "12",
            "macs",
            f"12: {NO_SUCH_LAYER} [unknown-layer]",
        ),
        (
            "nek",
            "macs",
            f"nek: {NO_SUCH_LAYER}; did you mean 'neck'? [unknown-layer]",
        ),
        (
            "3.attn.score",
            "macs",
            "blocks.3.attn.score: no such operation; did you mean 'attn.scores'? [unknown-operation]",
        ),
        (
            "3.attn.scores",
            "peak_bytes",
            "blocks.3.attn.scores: operations do not have peak_bytes; ask for the layer blocks.3 [layers-only]",
        ),
        (
            "neck",
            "attention_bytes",
            "neck: only layers have attention_bytes; ask for a layer, such as blocks.0 [layers-only]",
        ),
    ],
)
def test_a_place_that_there_is_not_says_which_there_are(where, metric, message):
    with pytest.raises(UsageError) as caught:
        explain(load_config("sam_vit_b"), where, metric)
    assert str(caught.value) == message


def test_the_command_writes_every_format(tmp_path):
    names = ["a.txt", "a.json", "a.csv", "a.md", "a.tex"]
    outputs = [part for name in names for part in ("-o", str(tmp_path / name))]
    result = samattn("explain", "sam_vit_b", "0", "--metric", "flops", *outputs)
    assert (result.returncode, result.stdout) == (0, "")
    found = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert (found["kind"], found["where"], found["metric"]) == ("explanation", "blocks.0", "flops")
    assert r"\begin{aligned}" in (tmp_path / "a.tex").read_text("utf-8")
    assert "$$" in (tmp_path / "a.md").read_text("utf-8")


def test_an_unknown_metric_is_refused():
    elsewhere = samattn("explain", "sam_vit_b", "--metric", "latency")
    assert elsewhere.stderr.startswith("--metric latency: latency_ms has no formula: ")
    assert elsewhere.stderr.endswith(" [figure-not-usable]\n")
    result = samattn("explain", "sam_vit_b", "--metric", "mac")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "--metric mac: unknown metric; did you mean 'macs'? [unknown-metric]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("sam_vit_b", "0"),
        pytest.param(("sam_vit_b",), marks=pytest.mark.exhaustive),
        pytest.param(("sam_vit_b", "0", "--metric", "peak_bytes"), marks=pytest.mark.exhaustive),
    ],
)
def test_plain_characters_stay_in_their_columns(arguments):
    text = samattn("explain", *arguments, columns=80, PYTHONIOENCODING="ascii").stdout
    assert text.isascii()
    assert "ceil(H/w)" in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    if "Made of" in lines:
        table = lines[lines.index("Made of") + 1 : lines.index("Symbols") - 1]
        assert len({len(line) for line in table if line and line[-1].isalpha() and line[0] != " "}) == 1


def test_text_is_escaped_in_latex():
    assert escaped(r"50% of a_b & {c} #1 $x^2$~\d") == (
        r"50\% of a\_b \& \{c\} \#1 \$x\textasciicircum{}2\$\textasciitilde{}\textbackslash{}d"
    )


@pytest.mark.parametrize("metric", ["bytes_read", "bytes_written", "requested_bytes"])
def test_bytes_are_reported_in_units_of_bytes(metric):
    report = explain(load_config("sam_vit_b"), "0", metric)
    assert " MiB)" in render(report, "terminal", Options())


def test_values_of_a_symbol_stand_in_the_order_of_the_rows() -> None:
    report = explain(load_config("swin_t"))
    (table,) = (section for section in page(report, Options()).sections if section.title == "Symbols")
    here = {row[0]: row[2] for row in table.rows}
    assert here["C"] == "96, 192, 384, 768"
    assert here["H"] == "56, 28, 14, 7"


@pytest.mark.parametrize("whose", ["reference", "transformers"])
def test_an_image_of_one_token_after_its_merger_has_formulas(whose):
    """MiniCPM-V's blocks then take one token, and the two ends of the image; in transformers a sequence is (1, tokens, C)."""
    small = ["image_size=32", "stages.0.depth=1", "stages.1.depth=1"]
    config = load_config("minicpm_v_4_6", [*small, f"implementation={whose}"])
    assert explain(config, "", "flops").value == sum(
        each.recording.flops for each in forward(config).segments
    )
