"""timm's own models of our encoders: the Tape has each of their allocations, forward and backward.

timm is not installed where most tests run: there the Tape is compared with `tests/public/timm.json`, which was recorded from timm.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.implementations import implementation_of
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.errors import ConfigError
from samattn_cli.studies.verify import verify
from tests.families.test_implementations import activations
from tests.public.timm_encoders import SMALL, WIDE, cases, config_of, derived, recorded, traced
from tests.support.recorded import torch_of

TIMM = "implementation=timm"
HAS_TIMM = find_spec("timm") is not None
needs_timm = pytest.mark.skipif(not HAS_TIMM, reason="timm is not installed")
RECORDED = recorded()
FLAGS_OF_ROWS = (12 * 64**2 + 512) / 2**20
"""MiB of a flag for each query of each head of a global block, whether its scores are all minus infinity, and of a zero."""


def as_recorded(case: str) -> EncoderConfig:
    """With the release of torch that was recorded, unless the case names one."""
    return config_of(case if "run.torch" in case else f"{case} {torch_of(RECORDED['made_by'])}")


@pytest.mark.parametrize("case", cases(SMALL))
def test_the_tape_has_each_allocation_of_timm(case):
    assert derived(as_recorded(case)) == RECORDED["cases"][case]


def test_the_recording_is_of_a_version_that_each_implementation_names():
    (made_by,) = {run.model.versions for run in map(implementation_of, map(config_of, SMALL)) if run}
    assert made_by == (RECORDED["made_by"]["timm"],)


@needs_timm
@pytest.mark.parametrize("case", cases(SMALL) if HAS_TIMM else [""])
def test_the_installed_timm_allocates_what_was_recorded(case):
    assert traced(as_recorded(case)) == RECORDED["cases"][case], f"timm {version('timm')}"


@needs_timm
@pytest.mark.exhaustive
@pytest.mark.parametrize("case", cases((*SMALL, *WIDE)) if HAS_TIMM else [""])
def test_the_installed_timm_is_derived_to_the_last_byte(case):
    config = config_of(case)
    assert verify(config, every_layer=False).status == "exact"
    assert derived(config) == traced(config)


@pytest.mark.parametrize(
    ("words", "mib"),
    [
        ([], 1634.0),
        (["run.dtype=bfloat16"], 817.0),
        (["run.torch=2.6"], 2580.0 + FLAGS_OF_ROWS),
        (["run.torch=2.13", "run.dtype=bfloat16"], 2196.0 + FLAGS_OF_ROWS),
    ],
)
def test_peak_of_timms_sam_at_its_default(words, mib):
    """Of the model itself over the dry device, with torch 2.14.1 and 2.6.0; the first is a figure of issue 16."""
    assert activations(load_config("sam_vit_b", [TIMM, "run.attention=sdpa", *words])) == mib


@pytest.mark.parametrize(
    ("preset", "words", "place", "code"),
    [
        ("sam_vit_b", ["window_size=[14,7]"], "window_size", "implementation-cannot-run"),
        ("sam_vit_b", ["run.attention=fused"], "run.attention", "kernel-not-modelled"),
        ("sam_vit_b", ["rel_pos=joint"], "rel_pos", "implementation-cannot-run"),
        ("sam_vit_b", ["neck=none"], "implementation", "implementation-not-modelled"),
        (
            "swin_t",
            ["image_size=[232,224]"],
            "image_size",
            "implementation-cannot-run",
        ),  # the last grid is 8x7
        ("swinv2_t", ["image_size=[264,256]"], "image_size", "implementation-cannot-run"),
        ("sam2_hiera_t", [], "implementation", "implementation-not-modelled"),  # it has no neck
        (
            "sam2_hiera_t",
            ["neck=none", "stages.1.mlp_ratio=2"],
            "stages.1.mlp_ratio",
            "implementation-cannot-run",
        ),
        ("vit_b", ["pretrain_image_size=384"], "pretrain_image_size", "implementation-cannot-run"),
        ("vit_b", ["pre_norm=true"], "pre_norm", "implementation-cannot-run"),
        (
            "tiny_vit_5m",
            ["stages.3.transition=conv_widening"],
            "stages.3.transition",
            "implementation-cannot-run",
        ),
        ("tiny_vit_5m", ["stages.1.window_size=[7,14]"], "stages.1.window_size", "implementation-cannot-run"),
        ("mobile_sam", [], "implementation", "implementation-not-modelled"),  # it has no neck
        ("swinv2_t", ["run.attention=sdpa"], "run.attention", "kernel-not-modelled"),
    ],
    ids=str,
)
def test_what_timm_cannot_run_is_reported_at_its_place(preset, words, place, code):
    with pytest.raises(ConfigError) as refused:
        load_config(preset, [TIMM, *words])
    (problem,) = refused.value.problems
    assert (problem.message.code, place in problem.where) == (code, True), problem
