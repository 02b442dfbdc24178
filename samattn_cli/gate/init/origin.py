"""The place from which this samattn was installed, so that CI installs the same: an index, a repository, a URL or a folder.

Source: PEP 610. Installers write direct_url.json next to the metadata of a package that does not come from an index.
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
"""An address of SSH as git writes it: git@github.com:owner/samattn.git."""


@dataclass(frozen=True)
class Origin:
    """What CI installs.

    Attributes:
        requirement: for pip.
        place: from which this samattn was installed, in words.
        is_reachable: whether other machines can install from it.
        is_path: whether it is a path from the root of the repository that is checked.
    """

    requirement: str = PINNED
    place: str = "an index of packages"
    is_reachable: bool = True
    is_path: bool = False


def installed_from(root: Path) -> Origin:
    """The place from which this samattn was installed.

    Args:
        root: the root of the repository that is checked.
    """
    direct_url = _direct_url()
    if direct_url is None:
        return Origin()
    url = str(direct_url.get("url", ""))
    if isinstance(vcs := direct_url.get("vcs_info"), Mapping) and vcs.get("vcs") == "git":
        return _of_git(url, str(vcs.get("commit_id", "")))
    if urlsplit(url).scheme == "file":
        return _of_folder(Path(url2pathname(urlsplit(url).path)), root)
    return Origin(f"{NAME} @ {_public(url)}", _public(url))


def _direct_url() -> Mapping[str, Any] | None:
    """The data of direct_url.json; for a checkout that is run without being installed, its folder; None for an index."""
    try:
        text = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return {"url": PACKAGE.parent.as_uri(), "dir_info": {}}
    try:
        data = json.loads(text) if text else None
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _of_git(url: str, commit: str) -> Origin:
    address = f"git+{_public(url)}@{commit}"
    return Origin(f"{NAME} @ {address}", address)


def _of_folder(path: Path, root: Path) -> Origin:
    """A folder or an archive: its path, if it is in the repository that is checked; else the remote of the checkout."""
    if path.is_relative_to(root):
        inside = f"./{path.relative_to(root).as_posix()}"
        return Origin(inside, str(path), is_path=True)
    return _of_checkout(path) or Origin(PINNED, str(path), is_reachable=False)


def _of_checkout(path: Path) -> Origin | None:
    """The remote of a checkout at its commit; None if the commit was not pushed or the remote is not public."""
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
    """A URL without a password. git@host:path becomes a URL of HTTPS, which does not need a key."""
    if "://" not in url and (match := SCP.fullmatch(url)):
        return f"https://{match['host']}/{match['path']}"
    parts = urlsplit(url)
    return (
        urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme != "ssh" else url
    )
