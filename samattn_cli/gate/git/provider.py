"""Variables of CI: which commit to compare a change with, and how to get a clone with all of history.

GitHub: docs.github.com/actions/reference/variables-reference, and the payloads of its events. GitLab:
docs.gitlab.com/ci/variables/predefined_variables. Bitbucket: support.atlassian.com, Variables and secrets. Buildkite:
buildkite.com/docs/builds/environment-variables. Azure: System.PullRequest.TargetBranch, with or without refs/heads/.
Jenkins: CHANGE_TARGET of multibranch pipelines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...records import dataclass

Candidate = tuple[str, str]
"""A ref, and the variable that names it."""

NONE = "0" * 7  # a hash of zeros: there was no commit before
DEPTHS = {
    "GITHUB_ACTIONS": "give actions/checkout `fetch-depth: 0`",
    "GITLAB_CI": "set the variable `GIT_DEPTH: 0`",
    "BITBUCKET_BUILD_NUMBER": "set `clone: {depth: full}`",
    "TF_BUILD": "give checkout `fetchDepth: 0`",
}


def deepening() -> str:
    """Advice: the setting of CI that clones all of history; "" outside CI that is known here."""
    return next((f" (here: {advice})" for name, advice in DEPTHS.items() if os.environ.get(name)), "")


@dataclass(frozen=True)
class Provider:
    """A CI: the variable by which it is recognized, and its candidates for the base, the best first."""

    variable: str
    candidates: Callable[[], Iterator[Candidate]]


def candidates() -> list[Candidate]:
    """The candidates for the base in CI; none outside CI, or if CI builds no change."""
    for provider in PROVIDERS:
        if os.environ.get(provider.variable):
            return [(ref, why) for ref, why in provider.candidates() if ref and not ref.startswith(NONE)]
    return []


def _github() -> Iterator[Candidate]:
    event = _event()
    if base := os.environ.get("GITHUB_BASE_REF"):
        yield f"origin/{base}", "GITHUB_BASE_REF"
        yield _text(event, "pull_request", "base", "sha"), "pull_request.base.sha in GITHUB_EVENT_PATH"
        if os.environ.get("GITHUB_REF", "").endswith("/merge"):
            yield "HEAD^1", "the first parent of GITHUB_REF's merge"
    yield _text(event, "merge_group", "base_sha"), "merge_group.base_sha in GITHUB_EVENT_PATH"
    yield _text(event, "before"), "before in GITHUB_EVENT_PATH"


def _gitlab() -> Iterator[Candidate]:
    # The first is set only in pipelines of merged results, in which HEAD contains the target branch.
    for name in ("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", "CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        yield os.environ.get(name, ""), name
    yield from _branch("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
    yield os.environ.get("CI_COMMIT_BEFORE_SHA", ""), "CI_COMMIT_BEFORE_SHA"


def _branch(name: str) -> Iterator[Candidate]:
    if branch := os.environ.get(name, "").removeprefix("refs/heads/"):
        yield f"origin/{branch}", name


PROVIDERS = (
    Provider("GITHUB_ACTIONS", _github),
    Provider("GITLAB_CI", _gitlab),
    Provider("BITBUCKET_BUILD_NUMBER", lambda: _branch("BITBUCKET_PR_DESTINATION_BRANCH")),
    Provider("BUILDKITE", lambda: _branch("BUILDKITE_PULL_REQUEST_BASE_BRANCH")),
    Provider("TF_BUILD", lambda: _branch("SYSTEM_PULLREQUEST_TARGETBRANCH")),
    Provider("CHANGE_TARGET", lambda: _branch("CHANGE_TARGET")),
)


def _event() -> Any:
    """The event that started a workflow; None if it cannot be read."""
    try:
        return json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
    except (KeyError, OSError, ValueError):
        return None


def _text(data: Any, *keys: str) -> str:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) else ""
