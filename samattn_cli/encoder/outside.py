"""Families outside the package: a Python file, a folder, or a module of an installed package.

There are two forms. A folder or a package has the same modules as a family in `families/`: `words.py`, `tape.py`,
`stack.py` and, if it can import models, `importing.py`. A single file has its words in `FAMILY` and its code in the
functions `tape()`, `stack()` and `importing()`. Each returns the content of such a module:
``{"BLOCKS": {"my_block": block}}``. They are functions so that only `stack()` imports torch.

Adding a family runs its code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from ..errors import FamilyError, Problem, did_you_mean
from .applicable_keys import encoder_readers, stage_readers
from .keys import choices_of
from .model import RunConfig, StageConfig
from .registry import SLOTS, Home, add, check, homes
from .slots import Family

GROUP = "samattn.families"
"""The entry points of installed packages that name a module with a family."""

WORDS = "words"
CHOICES: dict[str, tuple[type, str]] = {
    "kernels": (RunConfig, "attention"),
    "rel_pos": (StageConfig, "rel_pos"),
}
"""The attributes of a block that take only known words, and the key that lists these words."""

Result = TypeVar("Result")


def add_family(source: str | Path | ModuleType) -> None:
    """Add a family from outside the package, for as long as this process runs. This runs its code.

    Adding a family again changes nothing.

    Args:
        source: a Python file, a folder, or a module.

    Raises:
        FamilyError: if it is missing, its code fails, or it does not declare a family; nothing is added then.
    """
    if isinstance(source, ModuleType):
        place, origin = source.__name__, ("module", source.__name__)
        files = _real(next(iter(getattr(source, "__path__", [str(source.__file__)]))))
    else:
        files = _real(source)
        place, origin = str(source), ("path", str(files))
    if any(home.files == files for home in homes()):
        return
    module = source if isinstance(source, ModuleType) else _from_path(place, files)
    code = partial(_code_of_package if hasattr(module, "__path__") else _code_of_file, module)
    words = code(WORDS)
    family = getattr(words, "FAMILY", None)
    if not isinstance(family, Family):
        problem = "is missing" if family is None else f"must be a Family, not {type(family).__name__}"
        where = words.__file__ if isinstance(words, ModuleType) else place
        raise FamilyError("family-without-words", f"{where}: FAMILY {problem}; see `samattn guide families`")
    home = Home(place, family, code, files, origin)
    check(home)
    _check_values(home)
    add(home)


def origins() -> list[tuple[str, ...]]:
    """How another process can add the families from outside."""
    return [home.origin for home in homes() if home.origin]


def add_again(origin: tuple[str, ...]) -> None:
    """Add a family that another process has."""
    kind, name = origin
    add_family(name if kind == "path" else import_module(name))


@cache
def add_installed() -> tuple[Problem, ...]:
    """Add the families of installed packages, once in a process, because reading all entry points takes time.

    Returns:
        The problems of families that cannot be added.
    """
    from importlib.metadata import entry_points

    problems = []
    for point in entry_points(group=GROUP):
        place = f"{point.name} = {point.value} ({GROUP})"
        try:
            add_family(_run(place, None, partial(import_module, point.module)))
        except FamilyError as error:
            problems.append(Problem(place, error.message))
    return tuple(problems)


def place_in_family(error: BaseException) -> str:
    """The line "FILE:LINE" of a family from outside that an error passed through; "" if it passed through none."""
    known = [home.files for home in homes() if home.files]
    return next((place for files in known if (place := _place(error, files))), "")


def _real(path: str | Path) -> Path:
    """A path without links, so that the same family is found through any link. If links form a loop, one of them."""
    return Path(os.path.realpath(path))


def _from_path(place: str, path: Path) -> ModuleType:
    if not path.exists():
        raise FamilyError(
            "file-not-found", f"{place}: no such file or folder: name a family's Python file or folder"
        )
    if path.is_dir():
        return _package(place, path)
    if path.suffix != ".py":
        raise FamilyError(
            "family-not-python", f"{place}: is not a Python file (.py): name a family's file or folder"
        )
    return _executed(place, path, spec_from_file_location(_free_name(path), path))


def _package(place: str, folder: Path) -> ModuleType:
    """A folder as a package, so that its modules import each other: ``from .words import WIDTH``."""
    if not (folder / f"{WORDS}.py").is_file():
        raise FamilyError("family-without-words", f"{place}: has no {WORDS}.py; see `samattn guide families`")
    name, init = _free_name(folder), folder / "__init__.py"
    if init.is_file():
        spec = spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    else:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    return _executed(place, folder, spec)


def _free_name(path: Path) -> str:
    """A module name that is not in use."""
    stem = "".join(letter if letter.isalnum() else "_" for letter in path.stem)
    names = (f"samattn_family_{stem}{'_' * more}" for more in range(len(sys.modules) + 1))
    return next(name for name in names if name not in sys.modules)


def _executed(place: str, files: Path, spec: ModuleSpec | None) -> ModuleType:
    assert spec is not None  # noqa: S101 - for a .py file and a folder there is always one
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    if spec.loader is not None:
        try:
            _run(place, files, partial(spec.loader.exec_module, module))
        except FamilyError:
            del sys.modules[spec.name]
            raise
    return module


def _code_of_package(package: ModuleType, name: str) -> Any:
    full = f"{package.__name__}.{name}"
    if find_spec(full) is None:
        return None
    return _run(full, Path(package.__path__[0]), partial(import_module, full))


@cache
def _code_of_file(module: ModuleType, name: str) -> Any:
    if name == WORDS:
        return module
    make = getattr(module, name, None)
    if make is None:
        return None
    place = str(module.__file__)
    content = _run(place, Path(place), make)
    if isinstance(content, Mapping):
        return SimpleNamespace(**content)
    if not isinstance(content, ModuleType):
        kind = type(content).__name__
        message = f"{place}: {name}() must return a dictionary, such as {{'BLOCKS': {{...}}}}, not {kind}"
        raise FamilyError("family-bad-code", message)
    return content


def _run(place: str, files: Path | None, code: Callable[[], Result]) -> Result:
    """The result of a family's code.

    Raises:
        FamilyError: if it fails, with the place in its files.
    """
    try:
        return code()
    except FamilyError:
        raise
    except SyntaxError as error:
        where = f"{error.filename or place}:{error.lineno or 1}:{error.offset or 1}"
        raise FamilyError("family-not-python", f"{where}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        where = (files and _place(error, files)) or place
        raise FamilyError("family-fails", f"{where}: {type(error).__name__}: {error}") from error


def _place(error: BaseException, files: Path) -> str:
    """The last line of a family's files that an error passed through."""
    from traceback import walk_tb

    lines = [(_real(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
    own = [f"{path}:{line}" for path, line in lines if path == files or files in path.parents]
    return own[-1] if own else ""


def _check_values(home: Home) -> None:
    declared = ((slot, *item) for slot in SLOTS for item in getattr(home.family, slot).items())
    for slot, word, declaration in declared:
        for name, values, known in _limited(slot, declaration):
            if unknown := sorted(set(values) - set(known)):
                hint = did_you_mean(unknown[0], known) or f"; choose from {', '.join(sorted(known))}"
                message = f"{home.place}: FAMILY.{slot}[{word!r}].{name}: unknown value {unknown[0]!r}{hint}"
                raise FamilyError("family-unknown-value", message)


def _limited(slot: str, declared: Any) -> Iterator[tuple[str, Any, Any]]:
    """The attributes of a declaration that take only known values: the name, the values, and the known values.

    A key that every encoder has must not be declared by a word, because it would then be refused for all other words.
    """
    readers = (
        stage_readers()["block"] if slot == "blocks" else encoder_readers().get(slot.removesuffix("s"), {})
    )
    if readers:
        yield "keys", declared.keys, {key for keys in readers.values() for key in keys}
    for name, (model, key) in CHOICES.items():
        if hasattr(declared, name):
            (entry,) = (entry for entry in fields(model) if entry.name == key)
            yield name, getattr(declared, name), choices_of(entry)
