"""The release of torch that a recording is of, and the config of a recorded case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samattn_cli import load_config
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.encoder.torch_versions import Version, version_of, words
from tests.tape.dry.later import OWN


def release_of(recording: Mapping[str, Any]) -> Version:
    """Of the field `torch`, such as "2.14.1+cu130": (2, 14)."""
    version = version_of(recording["torch"])
    assert version is not None, recording["torch"]
    return version


def torch_of(recording: Mapping[str, Any]) -> str:
    """The setting of a config that names this release: "run.torch=2.14"."""
    return f"run.torch={words(release_of(recording))}"


def config_of(case: Mapping[str, Any]) -> EncoderConfig:
    """The config of a case as `tests/tape/dry/record.py` keeps it, with the release of torch that was recorded."""
    sets = [f"run.{key}={value}" for key, value in case["run"].items() if value != ""]
    about = [f"image_size={case['image_size']}", f"implementation={case['implementation']}"]
    preset = OWN.get(case["preset"], case["preset"])
    return load_config(preset, [*about, *case.get("sets", ()), *sets, torch_of(case)])
