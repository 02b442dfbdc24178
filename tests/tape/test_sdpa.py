"""torch's choice of attention kernel: the rules against choices that were recorded on the dry device, and the reasons."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from samattn_cli.stack import cuda
from samattn_cli.tape.launch import parts_of, refused
from samattn_cli.tape.ops import Op
from samattn_cli.tape.sdpa import Choice, choose
from samattn_cli.tape.sdpa_call import Call, Operand, Target, Version
from samattn_cli.tape.sdpa_rules import RULES
from samattn_cli.tape.storage import Storage
from tests.device.test_dry import CUDA_BUILD
from tests.support.recorded import release_of
from tests.support.sampling import sampled
from tests.tape.dry import sdpa, sdpa_versions
from tests.tape.dry.sdpa_cases import CAPABILITIES, KEPT, RANDOM, named, qkv, randomly, t

RECORDED = json.loads(sdpa.PATH.read_text("utf-8"))
RELEASE = release_of(RECORDED["made_by"])
OTHERS = json.loads(sdpa_versions.PATH.read_text("utf-8"))


def letters(calls: Iterable[Call], capability: Version, release: Version = RELEASE) -> str:
    target = Target(capability, release)
    return "".join(sdpa.LETTERS[choose(call, target).kernel] for call in calls)


def of(capability: Version) -> dict[str, str]:
    return RECORDED[".".join(map(str, capability))]


def test_the_recording_is_of_the_torch_that_is_named() -> None:
    made_by = RECORDED["made_by"]
    assert (made_by["torch"], made_by["cuda"], made_by["cudnn"]) == ("2.14.1+cu130", "13.0", 92400)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_every_named_call(capability) -> None:
    cases, recorded = list(named()), of(capability)["named"]
    assert len(cases) == len(recorded) == 479
    chosen = letters((call for _, call in cases), capability)
    names = zip(cases, chosen, recorded, strict=True)
    assert [(name, ours, theirs) for (name, _), ours, theirs in names if ours != theirs] == []


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_random_calls(capability) -> None:
    recorded = of(capability)["random"]
    assert len(recorded) == KEPT
    assert letters(randomly(KEPT), capability) == recorded


@pytest.mark.exhaustive
@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_all_random_calls(capability) -> None:
    assert sdpa.digest(letters(randomly(RANDOM), capability)) == of(capability)["all"]


@CUDA_BUILD
@pytest.mark.parametrize("capability", [(7, 5), (8, 9), (9, 0)], ids=str)
def test_all_calls_as_torch_chooses_here(capability) -> None:
    version, _cuda, _cudnn, of_names, at_random = sdpa.chosen(capability)
    release = release_of({"torch": version})
    assert letters((call for _, call in named()), capability, release) == of_names
    assert len(at_random) == RANDOM
    assert letters(randomly(), capability, release) == at_random


ON_EACH = [(version, capability) for version, found in OTHERS.items() for capability in found]


@pytest.mark.parametrize(("version", "capability"), sampled(ON_EACH, 4))
def test_other_versions(version, capability) -> None:
    recorded = OTHERS[version][capability]
    target = Target(Target.of(float(capability)).capability, tuple(map(int, version.split(".")[:2])))
    calls, letters_of = (
        [*(call for _, call in named()), *randomly(KEPT)],
        recorded["named"] + recorded["random"],
    )
    known = [(call, theirs) for call, theirs in zip(calls, letters_of, strict=True) if theirs != "x"]
    assert len(known) > 1_500
    different = [call for call, theirs in known if sdpa.LETTERS[choose(call, target).kernel] != theirs]
    assert different == []


def test_cudnn_is_first_from_the_release_whose_wheels_bring_one_that_is_new_enough() -> None:
    """As recorded: a call that each kernel takes, on Hopper and on Blackwell, but not on an RTX 5090."""
    (plain,) = (number for number, (name, _) in enumerate(named()) if name == "(1,8,1024,64) bf16")
    first = {
        version: [found[at]["named"][plain] for at in ("9.0", "12.0")] for version, found in OTHERS.items()
    }
    cudnn = {version for version, (hopper, _) in first.items() if hopper == "c"}
    assert cudnn == {"2.11.0", "2.13.0", "2.15.0"}
    assert "c" not in {rtx for _, rtx in first.values()}
    for version in range(6, 16):
        kernel = choose(Call(*HALF), Target((9, 0), (2, version))).kernel
        assert kernel == ("cudnn" if version >= 11 else "flash")


def test_what_older_versions_do_otherwise() -> None:
    hopper = [choose(Call(*HALF), Target((9, 0), torch)).kernel for torch in ((2, 2), (2, 6), (2, 14))]
    assert hopper == ["flash", "flash", "cudnn"]
    large = Call(*qkv(1, 8, 64, 256, dt="bfloat16", g=True))
    assert [choose(large, Target((8, 9), torch)).kernel for torch in ((2, 2), (2, 6))] == [
        "efficient",
        "flash",
    ]
    groups = Call(FLOAT[0], *qkv(1, 2, 1024, 64, dt="float32")[1:], enable_gqa=True)
    assert [choose(groups, Target((8, 0), torch)).kernel for torch in ((2, 6), (2, 14))] == [
        "math",
        "efficient",
    ]


def test_random_calls_reach_every_kernel_and_every_rule_of_the_recorded_version() -> None:
    """A rule that no call meets would not be compared with anything."""
    reached = {rule: False for rule in RULES if rule.is_of(RELEASE)}
    for call in (each.batched() for each in randomly(KEPT)):
        for capability in CAPABILITIES:
            for rule in (rule for rule, met in reached.items() if not met):
                dims = rule.source == "check_tensor_shapes" or "hardware" in rule.source
                if dims or call.has_dims(4):
                    reached[rule] = bool(rule.refusal(call, Target(capability, RELEASE)))
    unmet = {rule.source for rule, met in reached.items() if not met}
    assert unmet == {
        "check_mem_efficient_hardware_support"
    }  # of compute capability 5.0: every device there is


HALF = qkv(1, 8, 1024, 64, dt="bfloat16")
MASK = t(1, 8, 1024, 1024, dt="bfloat16")
FLOAT = qkv(1, 8, 1024, 64, dt="float32")


@pytest.mark.parametrize(
    ("call", "capability", "kernel", "words"),
    [
        (Call(*HALF), (8, 0), "flash", []),
        (Call(*HALF, MASK), (8, 0), "efficient", ["float mask"]),
        (Call(*HALF, t(1024, 1024, dt="bool")), (8, 0), "efficient", ["bool mask"]),
        (Call(*FLOAT), (8, 0), "efficient", ["float32"]),
        (Call(*HALF), (7, 5), "math", ["8.0", "bfloat16"]),
        (Call(*HALF, MASK), (9, 0), "cudnn", []),
        (
            Call(*HALF, replace(MASK, needs_grad=True)),
            (9, 0),
            "efficient",
            ["gradient of a mask", "float mask"],
        ),
        (Call(*qkv(65_536, 1, 64, 96, dt="bfloat16")), (9, 0), "flash", ["65,536", "65,535"]),
        (Call(*qkv(1, 8, 64, 264, dt="bfloat16")), (8, 0), "efficient", ["264", "256"]),
        (
            Call(*qkv(1, 8, 64, 60, dt="bfloat16"), MASK),
            (8, 0),
            "math",
            ["float mask", "60", "multiple of 8"],
        ),
        (Call(*qkv(1, 8, 64, 224, dt="bfloat16", g=True)), (8, 6), "efficient", ["224", "8.6"]),
        (Call(*HALF), (9, 0), "cudnn", []),
        (Call(*HALF, dropout=0.1), (9, 0), "flash", ["1/16", "0.1"]),
    ],
)
def test_the_reason_has_the_fact_that_decides(call, capability, kernel, words) -> None:
    choice = choose(call, Target(capability, RELEASE))
    assert choice.kernel == kernel
    said = " ".join(reason for _, reason in choice.reasons)
    assert [word for word in words if word not in said] == []
    assert bool(choice.reasons) == bool(words)


def test_every_kernel_before_the_one_that_runs_has_a_reason() -> None:
    for call in randomly(300):
        choice = choose(call, Target((9, 0)))
        tried = ("cudnn", "flash", "efficient", "math")
        assert tuple(kernel for kernel, _ in choice.reasons) == tried[: tried.index(choice.kernel)]
        assert all(reason for _, reason in choice.reasons)


def test_a_compute_capability_as_a_device_file_writes_it() -> None:
    assert [Target.of(number).capability for number in (7.5, 8.0, 8.9, 9.0, 12.0)] == [
        (7, 5),
        (8, 0),
        (8, 9),
        (9, 0),
        (12, 0),
    ]


def test_an_operand_of_three_dimensions_is_a_batch_of_one_since_torch_2_14() -> None:
    call = Call(*[Operand((8, 64, 64), (4096, 64, 1), "float16")] * 3)
    assert choose(call, Target((8, 0), (2, 14))).kernel == "flash"
    before = choose(call, Target((8, 0), (2, 13)))
    assert before.kernel == "math"
    assert "4 dimensions" in dict(before.reasons)["flash"]


def launches_of(release: Version) -> list[list[Any]]:
    """As the dry device saw it: batch and heads of flash, heads of memory-efficient, and its gradient of a mask.

    The same of flash with torch 2.6.0 and 2.15.0. Memory-efficient attention ran no large batch with 2.6.0, and all with 2.15.0.
    """
    return [[*case, outcome_of(case, outcome, release)] for *case, outcome in RECORDED["launches"]]


def outcome_of(case: list[Any], outcome: str, release: Version) -> str:
    kernel, batch, *_ = case
    if kernel == "efficient" and release >= (2, 15):
        return "runs"
    return "no forward" if kernel == "efficient" and release < (2, 8) and batch > 65_535 else outcome


@pytest.mark.parametrize("version", [(2, 6), (2, 14), (2, 15)])
@pytest.mark.parametrize("number", range(len(RECORDED["launches"])))
def test_what_cannot_be_launched(number, version) -> None:
    kernel, batch, heads, has_mask, outcome = launches_of(version)[number]
    grads = (Storage(1),) * (4 if has_mask else 3)
    entering, choice = (batch, heads, 16, 32), Choice(kernel)
    forward = refused(Op("sdpa", "sdpa", "", entering=entering, choice=choice), version)
    back = Op("sdpa.backward", "sdpa", "", entering=entering, choice=choice, allocates=grads)
    backward = refused(back, version)
    ours = "no forward" if forward else "no backward" if backward else "runs"
    assert ours == outcome


@pytest.mark.parametrize(("torch", "kernel"), [((2, 12), "cudnn"), ((2, 13), "flash")])
def test_before_2_13_torch_chooses_cudnn_for_a_batch_that_it_cannot_run(torch: Version, kernel: str) -> None:
    """pytorch/pytorch #181235: on an H100 a batch of 65,535 runs, and one of 65,536 does not."""
    large = qkv(65_536, 1, 64, 96, dt="bfloat16")
    choice = choose(Call(*large), Target((9, 0), torch))
    assert choice.kernel == kernel
    op = Op("sdpa", "sdpa", "", entering=(65_536, 1, 64, 96), choice=choice)
    assert "65,536" in str(refused(op, torch) and refused(op, torch).in_words)
    assert refused(replace(op, entering=(65_535, 1, 64, 96)), torch) is None


@pytest.mark.parametrize(("batch", "heads"), [(65_536, 1), (1, 65_536)])
@pytest.mark.parametrize("capability", [(8, 0), (12, 0)])
def test_since_2_15_torch_does_not_choose_flash_for_what_it_cannot_launch(batch, heads, capability) -> None:
    """The stack on meta, which is derived by itself, does the same."""
    call = Call(*qkv(batch, heads, 4, 32, dt="bfloat16"))
    x = torch.empty(batch, heads, 4, 32, dtype=torch.bfloat16, device="meta")
    for version, kernel in (((2, 14), "flash"), ((2, 15), "efficient")):
        choice = choose(call, Target(capability, version))
        assert choice.kernel == kernel
        assert cuda.flash_takes(x, x, None, version) is (kernel == "flash")
    assert "65,536" in choice.in_words
    fitting = Call(*qkv(min(batch, 65_535), min(heads, 65_535), 4, 32, dt="bfloat16"))
    assert choose(fitting, Target(capability, (2, 15))).kernel == "flash"


def test_why_it_cannot_be_launched() -> None:
    shape = {"entering": (65_536, 1, 64, 96), "choice": Choice("flash")}
    why = refused(Op("sdpa", "sdpa", "", **shape), (2, 14))
    assert why is not None
    assert (why.dim, why.size) == (0, 65_536)
    assert "flash attention of a batch of 65,536" in why.in_words


def test_a_batch_in_parts() -> None:
    assert list(parts_of(65_535, (2, 14))) == [65_535]
    assert list(parts_of(140_000, (2, 14))) == [65_535, 65_535, 8_930]
    assert list(parts_of(140_000, (2, 15))) == [140_000]
    assert list(parts_of(140_000, (2, 7))) == [140_000]


@CUDA_BUILD
def test_launches_here() -> None:
    assert sdpa.launched() == launches_of(release_of({"torch": torch.__version__}))


@pytest.mark.parametrize("d", [16, 64, 80, 256, 264])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("has_mask", [False, True])
def test_the_real_stack_on_meta_runs_the_same_kernel(d, dtype, has_mask) -> None:
    """Two derivations: that of the stack on meta is written by itself, for a device of compute capability 8.0."""
    x = torch.empty(2, 3, 16, d, dtype=getattr(torch, dtype), device="meta")
    mask = torch.empty(16, 16, dtype=x.dtype, device="meta") if has_mask else None
    operand = t(2, 3, 16, d, dt=dtype)
    ours = choose(Call(operand, operand, operand, t(16, 16, dt=dtype) if has_mask else None)).kernel
    assert ours == ("flash" if cuda.flash_takes(x, x, mask) else "efficient")
