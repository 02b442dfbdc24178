"""The texts of the files that `samattn init` writes: thresholds, a GitHub workflow, a pre-commit configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...shell import command, line
from ...version import __version__
from .discovery import SUFFIXES
from .limits import Limit, Limits
from .origin import Origin

PROFILES_OF = {"inference": "serve", "training": "train"}
"""The name of the profile, by its mode."""

PLAIN = re.compile(r"[A-Za-z][\w./-]*(?<!-)", re.ASCII)
WORDS = frozenset({"true", "false", "null"})

THRESHOLDS = """\
# What these encoders may cost: `{check}` fails if one costs more.
# `samattn init` of samattn {version} wrote this file. Each limit is the figure of that day: figures are derived and exact (times
# are rounded up to three digits). Raise a limit on purpose, in the change that needs it.
# `samattn schema --thresholds` documents every key; `{check_all}` lists every figure.
version: 1
configs:
{configs}
{profiles}
rules:
{rules}
  # Growth compared with the branch into which a change is merged:
  # - {{id: growth, metric: flops, vs: base, increase: {{error: "+2%", and_above: 1 GFLOP}}}}
"""
PROFILES = """\
# How encoders are run; without a profile, as each config says under `run`.
# profiles:
#   serve: {batch_size: 1, dtype: bfloat16, attention: sdpa, device: a100_80}
# and in a rule: profile: serve"""

WORKFLOW = """\
# Fails a change if an encoder costs more than {thresholds} allows. Written by `samattn init`.
name: samattn
on:
  pull_request:
  push:
    branches: [main, master]
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
        with:
          fetch-depth: 0 # the base that a change is compared with is in the history
      - uses: actions/setup-python@v6
        with:
          python-version: "3.12"
      - run: {install} # without torch: figures are derived
      - run: |
          {command}
"""

PRE_COMMIT = """\
# `pre-commit install` makes git run it. Written by `samattn init`.
repos:
"""
HOOK = """\
  - repo: local
    hooks:
      - id: samattn-check
        name: samattn check
        {language}
        entry: {command}
        types: [yaml]
        pass_filenames: false
"""


def thresholds(
    encoders: Sequence[Limits], folder: Path, profile: Mapping[str, Any], families: Sequence[str] = ()
) -> str:
    """The thresholds file of a folder. Encoders are run with the keys of `profile`; {} for none.

    `families` are the paths of families from outside, from the folder.
    """
    name = PROFILES_OF[profile.get("mode", "inference")]
    named = families if all(map(str.isprintable, families)) else ()  # a comment ends with its line
    return THRESHOLDS.format(
        check=check_with(named),
        check_all=check_with(named, "--all"),
        version=__version__,
        configs="\n".join(f"  - {scalar(pattern)}" for pattern in _patterns(encoders, folder)),
        profiles=f"profiles:\n  {name}: {_mapping(profile)}" if profile else PROFILES,
        rules="\n".join(line for each in encoders for line in _rules(each, name if profile else "")),
    )


def workflow(path: PurePosixPath, origin: Origin, families: Sequence[str] = ()) -> str:
    """The workflow, with the thresholds file at `path` from the root of the repository."""
    command = _command(path, families, "--base", "auto")
    install = line("pip", "install", origin.requirement)
    return WORKFLOW.format(thresholds=path, install=install, command=command)


def pre_commit() -> str:
    """The start of a pre-commit configuration; hooks follow."""
    return PRE_COMMIT


def hook(path: PurePosixPath, origin: Origin, families: Sequence[str] = ()) -> str:
    """The entry of a pre-commit configuration, with the thresholds file at `path`.

    pre-commit cannot install from a path in the repository. In that case the hook runs the samattn on PATH.
    """
    needed = f"language: python\n        additional_dependencies: [{scalar(origin.requirement)}]"
    language = "language: system # the samattn on PATH" if origin.is_path else needed
    return HOOK.format(language=language, command=scalar(_command(path, families)))


def _command(path: PurePosixPath, families: Sequence[str], *options: str) -> str:
    """The command of the check, from the root of the repository."""
    where = ("--thresholds", str(path)) if len(path.parts) > 1 else ()
    return check_with(families, *options, *where)


def check_with(families: Sequence[str], *options: str) -> str:
    """The command of the check, with families from outside."""
    named = (word for family in families for word in ("--family", family))
    return command("check", *options, *named)


def _patterns(encoders: Sequence[Limits], folder: Path) -> Iterator[str]:
    """The entries of `configs`. If a folder has only encoders, it is one glob, which also matches encoders added later."""
    paths = {encoder.path for encoder in encoders}
    written = set[str]()
    for encoder in encoders:
        parent = PurePosixPath(encoder.path).parent
        glob = f"{parent}/*{PurePosixPath(encoder.path).suffix}"
        whole = parent.parts and encoder.pattern == encoder.path and _holds_only(folder, parent, paths)
        pattern = glob if whole else encoder.pattern
        if pattern not in written:
            written.add(pattern)
            yield pattern


def _holds_only(folder: Path, parent: PurePosixPath, paths: set[str]) -> bool:
    """Whether all YAML files of a folder are among the paths."""
    files = (path.name for path in (folder / parent).iterdir() if path.name.endswith(SUFFIXES))
    return all(str(parent / name) in paths for name in files)


def _rules(encoder: Limits, profile: str) -> Iterator[str]:
    yield f"  # {title(encoder)}"
    yield from (f"  - {rule_of(encoder, limit, profile)}" for limit in encoder.limits)


def title(encoder: Limits) -> str:
    """The title of an encoder in a comment, on one line."""
    text = " ".join(f"{encoder.path}: {encoder.description}".split()).rstrip(":")
    return text if text.isprintable() else json.dumps(text)


def rule_of(encoder: Limits, limit: Limit, profile: str) -> str:
    """A limit as a rule of a thresholds file, on one line; "" for no profile."""
    run = {"profile": profile} if profile else {}
    return _mapping(
        {"id": limit.id, "match": encoder.pattern, **run, "metric": limit.metric, "limit": limit.most}
    )


def _mapping(keys: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_value(key, value)}" for key, value in keys.items()) + "}"


def _value(key: str, value: Any) -> str:
    if key == "limit":
        return amount(value)
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def amount(text: str) -> str:
    """A number and a unit, or a number, in YAML."""
    return json.dumps(text) if "," in text else text


def scalar(text: str) -> str:
    """Text in YAML: unquoted if that is safe, else in double quotation marks."""
    is_plain = all(map(PLAIN.fullmatch, text.split(" "))) and text.lower() not in WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)
