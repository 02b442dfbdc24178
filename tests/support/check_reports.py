"""A check report made by hand: one result of each outcome and of each way to compare."""

from samattn_cli.gate.reports.check import CheckReport, Result
from samattn_cli.reports.diff import Place

GIB, GFLOP = 2**30, 10**9

FITS = Result(
    rule="fits",
    config="encoders/vit_h.yaml",
    profile="serve",
    outcome="error",
    metric="peak_memory",
    unit="B",
    value=6 * GIB + 1,
    compared_with="",
    limit=6 * GIB,
    excess=1,
    summary="peak memory is above the limit",
    advice="Ask the vision-perf group",
    place=Place("encoders/vit_h.yaml", 12, 3),
    rule_place=Place("samattn.yaml", 6, 5),
    command="samattn explain encoders/vit_h.yaml --metric peak_bytes",
)
GROWTH = Result(
    rule="growth",
    config="encoders/vit_h.yaml",
    profile="serve",
    outcome="error",
    metric="flops",
    unit="FLOP",
    value=5_960 * GFLOP,
    compared=5_470 * GFLOP,
    compared_with="base main (1a2b3c4)",
    limit=5_579_400_000_000,
    excess=380_600_000_000,
    summary="flops grew from 5.47 TFLOP to 5.96 TFLOP, which is more than +2 %",
    place=Place("encoders/vit_h.yaml", 9, 22),
    rule_place=Place("samattn.yaml", 7, 5),
    causes=("global_attn_indexes: added 3", "blocks.3: 188 -> 248 GFLOP (window 14x14 -> global)"),
    command="samattn diff main:encoders/vit_h.yaml encoders/vit_h.yaml",
)
SAVING = Result(
    rule="saving",
    config="encoders/sam_vit_b.yaml",
    profile="serve",
    outcome="warn",
    metric="attention_memory_saving_per_head",
    unit="%",
    value=0.9215,
    compared=0.943,
    compared_with="expected",
    limit=0.942,
    excess=0.9215 - 0.942,
    summary="the saving is 92.15 %, not 94.3 % within 0.1 %",
    rule_place=Place("samattn.yaml", 8, 5),
)
DRIFT = Result(
    rule="drift",
    config="encoders/vit_l.yaml",
    profile="serve",
    outcome="waived",
    metric="params",
    unit="params",
    value=308_278_272,
    compared=308_270_000,
    compared_with="baseline",
    limit=308_270_000,
    excess=8_272,
    summary="params rose above the baseline; waived until 2027-01-31: a new neck",
    rule_place=Place("samattn.yaml", 9, 5),
)
BROKEN = Result(
    rule="config",
    config="encoders/broken.yaml",
    outcome="unchecked",
    summary="embed_dim must be a multiple of num_heads",
    code="not-divisible",
    place=Place("encoders/broken.yaml", 2, 12),
)
PASSED = Result(
    rule="fits",
    config="encoders/sam_vit_b.yaml",
    profile="serve",
    outcome="pass",
    metric="peak_memory",
    unit="B",
    value=2 * GIB,
    limit=6 * GIB,
    summary="peak memory is within the limit",
    rule_place=Place("samattn.yaml", 6, 5),
)

REPORT = CheckReport(
    thresholds="samattn.yaml",
    configs=(
        "encoders/vit_h.yaml",
        "encoders/vit_l.yaml",
        "encoders/sam_vit_b.yaml",
        "encoders/broken.yaml",
    ),
    base="main (1a2b3c4)",
    results=(FITS, PASSED, GROWTH, SAVING, DRIFT, BROKEN),
)
