"""What changes from one version of torch to another, and which versions are claimed."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from itertools import takewhile

import pytest
import torch
import torch.nn.functional as F
import yaml

from samattn_cli import load_config
from samattn_cli.encoder.torch_versions import LINEAR_IS_VIEW_BEFORE, OLDEST, words
from samattn_cli.records import replace
from samattn_cli.render.crosscheck import verdicts
from samattn_cli.stack import crosscheck, slices
from samattn_cli.stack.by_cpu import made_by_cpu
from samattn_cli.stack.count import import_flop_count_analysis
from samattn_cli.stack.cuda import AsOnCuda
from samattn_cli.stack.versions import as_in_torch_2_13
from samattn_cli.studies import torch_version
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.verify import verify
from tests.support.running import ROOT, SAMATTN, environment, samattn

TINY = {
    "image_size": 80, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "window_size": 3,
    "global_attn_indexes": [1], "rel_pos": "decomposed",
}  # fmt: skip
"""A grid of 5x5, padded to 6x6: two dimensions are cut, and the batch is taken whole."""

# -- fvcore's import -------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_the_import_of_fvcore_warns_nobody():
    small = ["--image-size", "64", "--set", "depth=1", "--set", "global_attn_indexes=none"]
    command = [SAMATTN[0], "-W", "error", *SAMATTN[1:], "analyze", "sam_vit_b", "--full", *small]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "  exact  fvcore  " in run.stdout


@pytest.mark.parametrize(
    ("message", "category", "module", "shown"),
    [
        ("`torch.jit.script` is deprecated. Please switch", FutureWarning, "torch.jit._script", False),
        ("`torch.jit.script` is deprecated. Please switch", DeprecationWarning, "torch.jit._script", False),
        (
            "`torch.jit.script` is not supported in Python 3.14+ and",
            FutureWarning,
            "torch.jit._script",
            False,
        ),
        ("`torch.jit.trace` is deprecated. Please switch", FutureWarning, "torch.jit._trace", True),
        ("`torch.jit.script` is deprecated. Please switch", FutureWarning, "my_encoder", True),
        ("`torch.jit.script` is deprecated. Please switch", UserWarning, "torch.jit._script", True),
    ],
)
def test_only_the_warning_of_its_compiled_functions_is_left_out(
    message, category, module, shown, tmp_path, monkeypatch
):
    package = tmp_path / "fvcore" / "nn"
    package.mkdir(parents=True)
    (tmp_path / "fvcore" / "__init__.py").touch()
    warn = f"warnings.warn_explicit({message!r}, {category.__name__}, 'a.py', 1, {module!r}, {{}})"
    (package / "__init__.py").write_text(f"import warnings\n{warn}\nFlopCountAnalysis = 7\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "fvcore"]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert import_flop_count_analysis() == 7
    for name in ("fvcore", "fvcore.nn"):
        del sys.modules[name]
    assert [str(warning.message) for warning in caught] == ([message] if shown else [])


# -- slices that take a whole dimension, layouts of convolutions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        (slice(None), (slice(0, 4, 1),)),
        ((slice(None), slice(None, 3)), (slice(0, 4, 1), slice(0, 3, 1))),
        ((Ellipsis, slice(None)), (Ellipsis, slice(0, 7, 1))),
        ((Ellipsis, slice(-2, None), 1), (Ellipsis, slice(4, 6, 1), 1)),
        ((slice(None), None, slice(None)), (slice(0, 4, 1), None, slice(0, 5, 1))),
        ((2, slice(None, 100)), (2, slice(0, 5, 1))),
        ((slice(None), slice(1, None, 2)), (slice(0, 4, 1), slice(1, 5, 2))),
        (3, (3,)),
        ([0, 2], [0, 2]),
        ((True, slice(None)), (True, slice(None))),
    ],
)
def test_a_slice_is_written_out_in_numbers(index, numbers):
    x = torch.arange(4 * 5 * 6 * 7).view(4, 5, 6, 7)
    assert slices.written_out(x, index) == numbers
    cut, wanted = x[numbers], x[index]
    assert cut.stride() == wanted.stride()
    assert torch.equal(cut, wanted)


def test_slices_next_to_indexes_are_written_out_and_masks_left_alone():
    x, order, mask = torch.arange(60).view(3, 4, 5), torch.tensor([2, 0]), torch.ones(3, 4, dtype=torch.bool)
    first, *rest = slices.written_out(x, (order, slice(None), slice(None)))
    assert (first is order, rest) == (True, [slice(0, 4, 1), slice(0, 5, 1)])
    assert slices.written_out(x, (mask, slice(None)))[1] == slice(None)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_slice_that_takes_a_whole_dimension_records_nothing(recorded, monkeypatch):
    """`x[:, :2, :]` cuts one dimension of three: one node. torch 2.6.0 itself records three."""
    monkeypatch.setattr(slices, "RECORDED", recorded or slices.RECORDED)
    with AsOnCuda():
        cut = (torch.empty(3, 4, 5, device="meta", requires_grad=True) * 1)[:, :2, :]
    node, names = cut.grad_fn, []
    while node:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    assert list(takewhile(lambda name: name == "SliceBackward0", names)) == ["SliceBackward0"]
    assert names[1] == "MulBackward0"


@pytest.mark.parametrize(
    ("of_x", "of_weight", "wanted"),
    [
        (torch.contiguous_format, torch.contiguous_format, torch.contiguous_format),
        (torch.channels_last, torch.contiguous_format, torch.channels_last),
        (torch.contiguous_format, torch.channels_last, torch.channels_last),
    ],
)
def test_convolutions_are_laid_out_as_cudnn_does_whatever_the_meta_kernels_made(of_x, of_weight, wanted):
    x = torch.empty(2, 8, 6, 6, device="meta").to(memory_format=of_x)
    weight = torch.empty(16, 8, 3, 3, device="meta").to(memory_format=of_weight)
    for made in (torch.contiguous_format, torch.channels_last):
        out = torch.empty(2, 16, 4, 4, device="meta").to(memory_format=made)
        laid = as_in_torch_2_13(torch.ops.aten.convolution.default, (x, weight), out)
        assert laid.is_contiguous(memory_format=wanted)
        gradients = tuple(torch.empty_like(each, memory_format=made) for each in (x, weight))
        bias = torch.empty(16, device="meta")
        laid = as_in_torch_2_13(
            torch.ops.aten.convolution_backward.default, (out, x, weight), (*gradients, bias)
        )
        assert all(each.is_contiguous(memory_format=wanted) for each in laid[:2])
        assert laid[2] is bias
        assert (
            as_in_torch_2_13(
                torch.ops.aten.convolution_backward.default, (out, x, weight), (None, None, bias)
            )[0]
            is None
        )
        assert as_in_torch_2_13(torch.ops.aten.add.Tensor, (x, x), out) is out


def test_the_trace_on_an_old_torch_is_exact_and_says_which_rule_it_follows(monkeypatch):
    monkeypatch.setattr(slices, "RECORDED", True)
    monkeypatch.setattr(crosscheck, "NOTE", "with slices as in torch 2.9.1")
    verdict = verify(load_config(TINY))
    assert {check.status for check in verdict.checks.values()} == {"exact"}
    said = {line.name: line.text for line in verdicts(verdict)}
    assert said["memory trace"].endswith(" in order; with slices as in torch 2.9.1")
    assert "2.9.1" not in said["FlopCounterMode"]


def test_the_installed_torch_is_exact_without_real_arithmetic():
    verdict = verify(load_config("sam_vit_h"), every_layer=False)
    assert {check.status for check in verdict.checks.values()} == {"exact"}
    assert {verdict.fvcore.route, verdict.flop_counter.route, verdict.memory_trace.route} == {"meta"}


# -- attention of three dimensions -----------------------------------------------------------------------------------


def test_attention_of_three_dimensions_runs_as_in_torch_2_14():
    """With a batch of 1, by the memory-efficient kernel, whose result is (tokens, N, d) in memory. 2.13 makes the scores."""
    q = torch.empty(16, 196, 64, device="meta")
    with AsOnCuda():
        out = F.scaled_dot_product_attention(q, q, q, scale=1.0)
    assert (tuple(out.shape), out.stride()) == ((16, 196, 64), (64, 16 * 64, 1))


def test_a_linear_layer_may_be_called_by_keywords():
    """As timm's Swin V2 does; a bias is added in place to what is not contiguous."""
    x, weight, bias = (torch.empty(*shape, device="meta") for shape in ((4, 2, 3), (5, 3), (5,)))
    with AsOnCuda():
        assert F.linear(x.transpose(0, 1), weight=weight, bias=bias).shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("version", "node"), [((2, 14), "AsStridedBackward0"), (LINEAR_IS_VIEW_BEFORE, "ReluBackward0")]
)
def test_a_linear_layer_returns_a_view_as_in_the_torch_of_the_run(version, node):
    """Whichever torch is installed. Autograd makes two nodes of an operation that changes a view in place."""
    x, weight, bias = (torch.empty(*shape, device="meta") for shape in ((4, 2, 3), (5, 3), (5,)))
    with AsOnCuda(version):
        changed = F.linear(x, weight.requires_grad_(), bias).relu_()
    assert (changed.shape, changed.grad_fn.name()) == ((4, 2, 5), node)


def test_relu_in_place_after_a_linear_layer_copies_no_gradient_since_torch_2_15():
    """Windows of 2x2 have 3x3 offsets, each with 512 hidden values of 4 bytes.

    Before, their gradient was copied by the view, then as a whole, then as the part that changes: AsStridedBackward, CopySlices.
    """
    config = load_config("swinv2_t", ["image_size=8", "stages.0.window_size=2"])
    config = replace(config, stages=config.stages[:1])
    allocated = []
    for version in ("2.14", words(LINEAR_IS_VIEW_BEFORE)):
        of_version = replace(config, run=replace(config.run, torch=version))
        assert verify(of_version, every_layer=False).status == "exact"
        step = Passes(of_version).step
        allocated.append(sum(op.requested_bytes for part in step.recordings for op in part.ops))
    blocks, copies, hidden = 2, 3, 3 * 3 * 512 * 4
    assert allocated[0] - allocated[1] == blocks * copies * hidden


@pytest.mark.parametrize("version", ["2.14", words(LINEAR_IS_VIEW_BEFORE)])
def test_low_rank_terms_are_added_in_place_to_a_view_before_torch_2_15(version):
    """Before, the gradient of queries, keys and values is copied once more by the view: in 2.15 parts are copied in another order."""
    small = ["image_size=64", "depth=1", "global_attn_indexes=[0]", "embed_dim=32", "num_heads=2"]
    config = load_config("sam_vit_b_lora", [*small, "run.mode=training", f"run.torch={version}"])
    assert verify(config, every_layer=False).status == "exact"


# -- the versions that are claimed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "old"),
    [("2.5.1+cu124", True), ("1.13.1", True), ("2.6.0", False), ("2.10.0a0+git1", False), ("3.0.0", False)],
)
def test_a_torch_older_than_the_oldest_tested_gets_a_message(installed, old, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"torch": installed}.get)
    said = torch_version.too_old()
    assert said == (
        f"torch {installed} is older than 2.6, the oldest that samattn is tested with: pip install 'torch>=2.6'"
        if old
        else ""
    )
    verdict = verify(load_config(TINY))
    assert (verdict.status, verdict.fvcore.reason) == (("skipped", said) if old else ("exact", ""))


def test_a_torch_without_metadata_is_taken_as_it_is(monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert torch_version.too_old() == ""


def test_verify_with_an_old_torch_exits_2_and_says_what_to_install(tmp_path):
    metadata = tmp_path / "torch-2.5.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n", "utf-8")
    run = samattn("verify", "sam_vit_b", PYTHONPATH=f"{tmp_path}:{ROOT}", columns=200)
    assert run.returncode == 2
    assert "torch 2.5.1 is older than 2.6, the oldest that samattn is tested with" in run.stdout
    assert "pip install 'torch>=2.6'" in run.stdout
    assert "torch 2.5.1 is older than 2.6" in run.stderr
    assert run.stderr.endswith(" [cross-check-not-run]\n")


def test_the_oldest_torch_is_the_same_everywhere_and_is_tested():
    oldest = words(OLDEST)
    assert f'"torch>={oldest}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    lowest, pinned = workflow["jobs"]["test"]["strategy"]["matrix"]["torch"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert lowest == f"{oldest}.0"
    assert f"pin torch {pinned};" in readme
    assert f"torch {oldest} or later" in readme


def test_buffers_are_made_on_the_device_of_a_context_that_torch_2_6_does_not_name(monkeypatch):
    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cpu"))
    with torch.device("meta"):
        assert made_by_cpu(torch.arange, 3).device.type == "meta"
    assert made_by_cpu(torch.arange, 3).tolist() == [0, 1, 2]
