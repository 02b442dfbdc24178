"""What is said where the installed torch runs other kernels of attention than the torch of the run."""

import pytest

from samattn_cli import load_config, load_device
from samattn_cli.errors import UsageError
from samattn_cli.studies import installed_torch, measure
from samattn_cli.studies.analyze import analyze
from samattn_cli.studies.passes import Passes
from samattn_cli.units import format_bytes

TIMM = ["image_size=512", "depth=2", "global_attn_indexes=1", "implementation=timm", "run.attention=sdpa"]


def config(*words):
    return load_config("sam_vit_b", [*TIMM, *words])


@pytest.mark.parametrize(
    ("installed", "words", "is_said"),
    [
        ("2.13.0+cpu", [], True),
        ("2.14.1+cu130", ["run.torch=2.13"], True),
        ("2.13.0+cpu", ["run.torch=2.6"], False),  # both run unfused products
        ("2.14.1", [], False),
        ("2.15.0", [], False),
        ("2.16.0", [], False),
        ("2.5.1", [], False),
        ("", [], False),
        ("2.13.0", ["run.attention=eager"], False),
        ("2.13.0", ["implementation=reference"], False),
    ],
)
def test_the_installed_torch_is_named_where_the_peak_differs_with_it(monkeypatch, installed, words, is_said):
    monkeypatch.setattr(installed_torch, "installed", lambda: installed)
    codes = [finding.code for finding in analyze(config(*words), verify=False).findings]
    assert ("installed-torch" in codes) is is_said


def test_both_figures_are_said(monkeypatch):
    monkeypatch.setattr(installed_torch, "installed", lambda: "2.13.0+cpu")
    (finding,) = installed_torch.of_installed_torch(Passes(config()))
    for word in ("2.15", "2.13"):
        assert format_bytes(Passes(config(f"run.torch={word}")).peak_bytes) in finding.message
    assert "--set run.torch=2.13" in finding.message


SDPA_OF_TRANSFORMERS = ("implementation=transformers", "run.attention=sdpa")


@pytest.mark.parametrize(
    ("installed", "device", "words", "is_said"),
    [
        ("2.14.1", "h100", (), True),
        ("2.13.0", "h100", (), True),
        ("2.13.0", "h100", SDPA_OF_TRANSFORMERS, True),  # whose kernels are the same
        ("2.15.0", "h100", ("run.torch=2.14",), True),
        ("2.15.0", "h100", (), False),
        ("2.13.0", "h100", ("run.torch=2.14",), False),
        ("2.14.1", "cpu", (), False),
        ("2.14.1", None, (), False),
    ],
)
def test_a_torch_that_keeps_the_workspaces_of_cublas_or_not_is_named_on_a_cuda_device(
    monkeypatch, installed, device, words, is_said
):
    """One of 32 MiB on an H100, which torch 2.15 gives back after each product; tensors take the same."""
    monkeypatch.setattr(installed_torch, "installed", lambda: installed)
    passes = Passes(load_config("vit_b", ["depth=1", *words]), device and load_device(device))
    found = list(installed_torch.of_installed_torch(passes))
    assert [each.code for each in found] == ["installed-torch"] * is_said
    for torch in (installed[:4], passes.config.run.torch) if is_said else ():
        config = load_config("vit_b", ["depth=1", *words, f"run.torch={torch}"])
        used = Passes(config, passes.device).in_memory
        assert format_bytes(used.allocated_bytes) in found[0].message


@pytest.mark.parametrize(
    ("installed", "words", "says"),
    [
        ("2.14.1", (), "error. blocks.0.attn.sdpa: CUDA cannot launch flash"),
        ("2.15.0", ("run.torch=2.14",), ""),
    ],
)
def test_an_installed_torch_that_cannot_launch_the_run_is_named(monkeypatch, installed, words, says):
    """64 images of SAM 2 are 65,536 windows."""
    monkeypatch.setattr(installed_torch, "installed", lambda: installed)
    sets = ["run.attention=sdpa", "run.dtype=bfloat16", "run.batch_size=64", *words]
    passes = Passes(load_config("sam2_hiera_t", sets), load_device("h100"))
    found = [each.message for each in installed_torch.of_installed_torch(passes)]
    assert [says in each for each in found] == [True] * bool(says)


def test_the_report_names_unfused_products_once_with_the_version():
    report = analyze(config("run.torch=2.13"), verify=False)
    (kernel,) = report.attention_kernels
    assert (kernel.operation, kernel.kernel, kernel.torch) == ("attn.scores", "math", "2.13")
    assert kernel.words.count("4 dimensions, not 3") == 1
    assert "unfused-attention" in {finding.code for finding in report.findings}


def test_another_torch_than_the_installed_one_is_not_measured(monkeypatch):
    monkeypatch.setattr(measure, "installed", lambda: "2.14.1+cu130")
    with pytest.raises(UsageError) as caught:
        measure.measure_case(config("run.torch=2.13"), "cpu")
    assert caught.value.message.code == "torch-differs"
    assert "2.13" in caught.value.message
    assert "2.14" in caught.value.message
