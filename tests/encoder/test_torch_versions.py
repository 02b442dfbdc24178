"""`run.torch`: the versions of torch whose attention kernels are known."""

import pytest

from samattn_cli.encoder.hash import config_hash
from samattn_cli.encoder.torch_versions import DEFAULT, FORMER_DEFAULT, words
from samattn_cli.errors import ConfigError
from samattn_cli.files.load import load_config
from tests.support.problems import problems_of


@pytest.mark.parametrize(
    ("written", "kept", "version"),
    [
        (2.6, "2.6", (2, 6)),
        ("2.10", "2.10", (2, 10)),
        (" 2.13.0+cpu ", "2.13", (2, 13)),
        ("2.14.1", "2.14", (2, 14)),
    ],
)
def test_versions_that_are_known(written, kept, version):
    run = load_config({"extends": "vit_b", "run": {"torch": written}}).run
    assert (run.torch, run.torch_version) == (kept, version)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("2.5", "[unknown-torch-version] run.torch torch 2.5 2.6 to 2.15"),
        ("2.16", "[unknown-torch-version] run.torch torch 2.16 2.6 to 2.15"),
        ("2.1", "[unknown-torch-version] run.torch torch 2.1 2.6 to 2.15"),
        ("newest", "[not-a-torch-version] run.torch 'newest' 2.13"),
        ("2.x", "[not-a-torch-version] run.torch '2.x' 2.13"),
        ("[2.6]", "[not-a-quantity] run.torch 2.6 to 2.15"),
    ],
)
def test_versions_that_are_not(written, problem):
    with pytest.raises(ConfigError) as caught:
        load_config("vit_b", [f"run.torch={written}"])
    (said,) = problems_of(caught)
    assert said == f"override run.torch={written}: {problem}"


def test_an_option_keeps_the_zero_that_a_number_of_a_file_loses():
    """What samattn prints for torch 2.10 is taken as it is printed; in a file YAML reads 2.1."""
    assert load_config("vit_b", ["run.torch=2.10"]).run.torch == "2.10"
    assert load_config("vit_b", ["run.torch='2.10'"]).run.torch == "2.10"
    with pytest.raises(ConfigError) as caught:
        load_config({"extends": "vit_b", "run": {"torch": 2.10}})
    (said,) = problems_of(caught)
    assert said == "config: [unknown-torch-version] run.torch torch 2.1 2.6 to 2.15 2.10 quotes"


def test_a_version_that_is_or_was_the_default_does_not_change_the_hash():
    """A recording has the version that was the default then, whichever torch ran."""
    for version in (DEFAULT, FORMER_DEFAULT):
        named = load_config("vit_b", [f"run.torch={words(version)}"])
        assert config_hash(named) == config_hash(load_config("vit_b"))
    assert config_hash(load_config("vit_b", ["run.torch=2.13"])) != config_hash(load_config("vit_b"))
