"""Imports a target from a checkout of a commit in place of the work tree, and proves that its code is from there.

Entries of the import path below the work tree become those of the checkout. An editable install may lead to the work tree by
other ways, and an installed copy of a package may hide the package: then there is no trace.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ...errors import SamattnError

INSTALLED = ("site-packages", "dist-packages")
OURS = "samattn_cli"


class Checkout:
    """The root of a checkout, and that of the work tree that it stands for."""

    def __init__(self, root: str, instead_of: str) -> None:
        self.root, self.work_tree = Path(root).resolve(), Path(instead_of).resolve()

    def use(self) -> None:
        """Let `import` look in the checkout where it would look in the work tree."""
        sys.path[:] = [str(self._mapped(Path(entry))) if entry else entry for entry in sys.path]

    def check(self, target: str) -> None:
        """Prove that no module was imported from the work tree, nor the target's from an installed copy.

        Raises:
            SamattnError: if one was.
        """
        name = target.partition(":")[0]
        for module, file in _imported():
            if self._is_of_work_tree(file) and module.partition(".")[0] != OURS:
                raise _elsewhere(f"{module} is imported from {file}, which is of the work tree")
            if module == name and not file.is_relative_to(self.root) and (twin := self._twin(name)):
                raise _elsewhere(f"{module} is imported from {file}, and not from {twin} of that commit")

    def _mapped(self, entry: Path) -> Path:
        resolved = entry.resolve()
        if not self._is_of_work_tree(resolved):
            return entry
        return self.root / resolved.relative_to(self.work_tree)

    def _is_of_work_tree(self, path: Path) -> bool:
        """Whether it is the user's own code there, and neither installed there nor of the checkout."""
        prefixes = (Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix))
        python = [prefix for prefix in prefixes if prefix != self.work_tree]
        return (
            path.is_relative_to(self.work_tree)
            and not path.is_relative_to(self.root)
            and not any(part in INSTALLED for part in path.parts)
            and not any(path.is_relative_to(prefix) for prefix in python)
        )

    def _twin(self, module: str) -> Path | None:
        """The file of a module in the checkout, wherever its package is."""
        *folders, name = module.split(".")
        for tail in (Path(*folders, f"{name}.py"), Path(*folders, name, "__init__.py")):
            found = next(self.root.rglob(str(tail)), None)
            if found:
                return found.relative_to(self.root)
        return None


def _imported() -> Iterator[tuple[str, Path]]:
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            yield name, Path(file).resolve()


def _elsewhere(what: str) -> SamattnError:
    return SamattnError(
        "not-of-base",
        f"{what}: put the package where the folder of samattn.yaml finds it, or use `vs: baseline`",
    )
