"""A target of a base is imported from the checkout, or not at all."""

from __future__ import annotations

import sys
from importlib import import_module, invalidate_caches

import pytest

from samattn_cli.errors import SamattnError
from samattn_cli.stack.tracing.checkout import Checkout
from tests.support.repositories import write

NAME = "guarded_by_a_base"


@pytest.fixture
def trees(tmp_path, monkeypatch):
    """A work tree and a checkout with the same package, neither of which Python has seen."""
    work_tree, checkout = tmp_path / "work", tmp_path / "base"
    for tree, number in ((work_tree, 2), (checkout, 1)):
        write(tree, {f"src/{NAME}/__init__.py": "", f"src/{NAME}/net.py": f"NUMBER = {number}\n"})
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield work_tree, checkout
    for name in [name for name in sys.modules if name.startswith(NAME)]:
        del sys.modules[name]


def imported(place):
    sys.path.insert(0, str(place))
    invalidate_caches()
    return import_module(f"{NAME}.net").NUMBER


def test_a_folder_of_the_work_tree_is_that_of_the_checkout(trees):
    work_tree, checkout = trees
    packages = str(work_tree / ".venv/lib/site-packages")
    sys.path[:0] = [str(work_tree / "src"), packages]
    both = Checkout(str(checkout), str(work_tree))
    both.use()
    assert sys.path[:2] == [str(checkout / "src"), packages]
    assert imported(sys.path[0]) == 1
    both.check(f"{NAME}.net:Mlp")


@pytest.mark.parametrize(
    ("place", "says"), [("work/src", "of the work tree"), ("site-packages", f"src/{NAME}/net.py")]
)
def test_code_that_is_not_of_the_checkout_is_refused(trees, place, says, tmp_path):
    work_tree, checkout = trees
    write(tmp_path / "site-packages", {f"{NAME}/__init__.py": "", f"{NAME}/net.py": "NUMBER = 3\n"})
    assert imported(tmp_path / place) in {2, 3}
    with pytest.raises(SamattnError) as caught:
        Checkout(str(checkout), str(work_tree)).check(f"{NAME}.net:Mlp")
    assert (caught.value.message.code, says in caught.value.message) == ("not-of-base", True)


def test_a_package_that_the_repository_does_not_have_is_the_same_at_each_commit(trees):
    work_tree, checkout = trees
    Checkout(str(checkout), str(work_tree)).check("json.decoder:JSONDecoder")
