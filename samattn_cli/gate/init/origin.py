"""Where this samattn was installed from, so that a CI installs the same: an index, a repository, an address or a folder.

Source: PEP 610, by which installers leave direct_url.json next to the metadata of what comes from no index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from ...errors import GitError
from ...version import __version__
from ..git.repository import repository

NAME = "samattn"
PINNED = f"{NAME}=={__version__}"
PACKAGE = Path(__file__).resolve().parents[2]
SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>[^/].*)")
"""How git writes an address of SSH: git@github.com:owner/samattn.git."""


@dataclass(frozen=True)
class Origin:
    """What pip is told to install.

    Attributes:
        requirement: as pip takes it.
        said: where this samattn was installed from, in words.
        is_reachable: whether others can install that.
        is_path: whether it is a path from the root of the repository that is checked.
    """

    requirement: str = PINNED
    said: str = "an index of packages"
    is_reachable: bool = True
    is_path: bool = False


def installed_from(root: Path) -> Origin:
    """Where this samattn was installed from.

    Args:
        root: the root of the repository that is checked.
    """
    found = _direct_url()
    if found is None:
        return Origin()
    url = str(found.get("url", ""))
    if isinstance(vcs := found.get("vcs_info"), Mapping) and vcs.get("vcs") == "git":
        return _of_git(url, str(vcs.get("commit_id", "")))
    if urlsplit(url).scheme == "file":
        return _of_folder(Path(url2pathname(urlsplit(url).path)), root)
    return Origin(f"{NAME} @ {_public(url)}", _public(url))


def _direct_url() -> Mapping[str, Any] | None:
    """What PEP 610 leaves; of a checkout that is run without being installed, its folder; None of an index."""
    try:
        text = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return {"url": PACKAGE.parent.as_uri(), "dir_info": {}}
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _of_git(url: str, commit: str) -> Origin:
    address = f"git+{_public(url)}@{commit}"
    return Origin(f"{NAME} @ {address}", address)


def _of_folder(path: Path, root: Path) -> Origin:
    """A folder or an archive: a path where it lies in the repository that is checked, else the remote of a checkout."""
    if path.is_relative_to(root):
        inside = f"./{path.relative_to(root).as_posix()}"
        return Origin(inside, str(path), is_path=True)
    return _of_checkout(path) or Origin(PINNED, str(path), is_reachable=False)


def _of_checkout(path: Path) -> Origin | None:
    """The remote of a checkout, at its commit if the remote has that; None if nobody else has it."""
    try:
        git = repository(path).git
        url = git.ask("config", "--get", "remote.origin.url", expected=(0, 1)).text
        commit = git.ask("rev-parse", "HEAD").text
        is_pushed = bool(git.ask("branch", "--remotes", "--contains", commit).text)
    except GitError:
        return None
    address = _public(url)
    is_public = urlsplit(address).scheme in {"https", "http", "ssh"}
    return _of_git(address, commit) if is_public and is_pushed else None


def _public(url: str) -> str:
    """An address without a password; what git writes as git@host:path as an address of HTTPS, which needs no key."""
    if "://" not in url and (found := SCP.fullmatch(url)):
        return f"https://{found['host']}/{found['path']}"
    parts = urlsplit(url)
    return (
        urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme != "ssh" else url
    )
