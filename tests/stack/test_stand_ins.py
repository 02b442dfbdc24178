"""Modules that stand in for others answer as those do, and bring them as soon as anything else is asked."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import weakref

import pytest
import sympy
import torch
from torch._prims_common import elementwise_dtypes
from torch.fx.experimental import symbolic_shapes
from torch.utils._sympy import functions

from samattn_cli.files.load import load_config
from samattn_cli.stack import sizes
from samattn_cli.stack.encoder import build
from samattn_cli.stack.stand_in import StandIn, instead_of_modules
from samattn_cli.studies.verify import verify
from tests.support.torch_2_6 import IS_TORCH_2_6

GIVEN = {
    "guard_int": [(3,)],
    "guarding_hint_or_throw": [(3,), (True,)],
    "has_guarding_hint": [(3,)],
    "size_hint": [(3,)],
    "has_hint": [(3,)],
    "is_nested_int": [(3,)],
    "free_unbacked_symbols": [(3,), (torch.empty(2, 3, device="meta"),)],
    "sym_and": [(True,), (True, False), (True, True, True)],
    "sym_or": [(False,), (True, False), (False, False, False)],
    "sym_eq": [
        *[(2, 3), (2, 2), ((1, 2), (1, 3)), ((1, 2), (1,)), (((1,), 2), ((1,), 2))],
        *[((1, 2), [1, 2])] * (not IS_TORCH_2_6),  # which that torch refuses
    ],
}
OF_NUMBERS = [("symbolic_shapes", name) for name in sizes.OF_NUMBERS] + [
    ("functions", name) for name in sizes.OF_NUMBERS_IN_SYMPY
]


FRAMES = """
import inspect
def wrap():
    frame = inspect.currentframe()
wrap()
"""
"""A module whose import leaves a cycle of references to frames, as that of torch.fx does."""


@pytest.fixture
def no_collector():
    """The garbage collector runs only when it is called."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def later(tmp_path, monkeypatch):
    """The name of a module that is not imported, which has a number and a class."""
    name = f"later_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("number = 7\nclass Kind: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore:guard_size_oblivious")
@pytest.mark.parametrize(("module", "name"), OF_NUMBERS)
def test_answers_of_numbers_are_those_of_torch(module, name):
    real = getattr({"symbolic_shapes": symbolic_shapes, "functions": functions}[module], name, None)
    if real is None:
        pytest.skip(f"torch {torch.__version__} has no {name}")
    if name == "Max":
        assert sizes.OF_NUMBERS_IN_SYMPY[name](3, 5) == real(sympy.Integer(3), sympy.Integer(5))
        return
    for given in GIVEN.get(name, [(True,), (False,)]):
        answer, expected = sizes.OF_NUMBERS[name](*given), real(*given)
        assert (type(answer) is set and not answer and not expected) or answer == expected
        assert isinstance(answer, type(expected) if not isinstance(answer, set) else set)


@pytest.mark.skipif(IS_TORCH_2_6, reason="torch 2.6.0 has no guard_or_false, guard_or_true and sym_and")
def test_a_symbol_is_answered_by_torch():
    env = symbolic_shapes.ShapeEnv()
    size = env.create_unbacked_symint()
    shapes, *_ = sizes.about_sizes()
    assert shapes.guard_or_false(size == 3) is False
    assert shapes.guard_or_true(size == 3) is True
    assert isinstance(shapes.sym_and(size > 3, size < 9), torch.SymBool)


def test_what_is_not_a_number_is_answered_by_torch():
    shapes, *_ = sizes.about_sizes()
    with pytest.raises(AssertionError):
        shapes.expect_true("text")


def test_sympys_expressions_are_asked_for_by_one_module_alone():
    stand_in = sizes.SymPy()
    assert stand_in.Basic is sympy.Basic
    assert isinstance(sympy.Symbol("x"), stand_in.Basic)
    assert stand_in.Basic | None
    assert (
        elementwise_dtypes(  # as long as SymPy is imported, it is asked
            sympy.Integer(2), type_promotion_kind=torch._prims_common.ELEMENTWISE_TYPE_PROMOTION_KIND.DEFAULT
        )[1]
        == torch.int64
    )


def test_what_is_not_imported_stays_so_until_it_is_asked_for(later):
    with instead_of_modules(StandIn(later)) as (stand_in,):
        module = importlib.import_module(later)
        assert module is stand_in
        assert not hasattr(module, "__path__")
        assert stand_in.is_in_place
        kind = module.Kind
        assert not stand_in.is_in_place
        assert sys.modules[later].Kind is kind
        assert module.number == 7
    assert sys.modules[later].Kind is kind
    assert module.number == 7


def test_what_nothing_asked_for_is_imported_afterwards(later):
    with instead_of_modules(StandIn(later)):
        importlib.import_module(later)
    assert later not in sys.modules
    assert importlib.import_module(later).number == 7
    with instead_of_modules(StandIn(later)) as left_out:
        assert not left_out


@pytest.mark.usefixtures("no_collector")
def test_an_import_keeps_nothing_of_those_that_called_for_it(later, tmp_path):
    path = tmp_path / f"{later}.py"
    path.write_text(path.read_text() + FRAMES)

    def call_for(module):
        held = torch.empty(3)
        assert module.number == 7
        return weakref.ref(held)

    with instead_of_modules(StandIn(later)):
        assert call_for(importlib.import_module(later))() is None


def test_what_a_module_imports_is_real_too(later, tmp_path):
    outer = f"{later}_outer"
    (tmp_path / f"{outer}.py").write_text(f"import {later}\nmodule = {later}\n")
    with instead_of_modules(StandIn(outer), StandIn(later)) as (stand_in, _):
        assert stand_in.module.__file__.endswith(f"{later}.py")
    del sys.modules[outer]


def test_a_check_that_fails_without_a_module_is_run_with_it(monkeypatch, later):
    tried = []

    def build_with_it(config, device):
        tried.append(later in sys.modules)
        if tried[-1]:
            raise RuntimeError("something that needs the real module")
        return build(config, device)

    monkeypatch.setattr("samattn_cli.stack.dynamo.about_sizes", lambda: (StandIn(later),))
    monkeypatch.setattr("samattn_cli.stack.crosscheck.build_implementation", build_with_it)
    verdict = verify(
        load_config({"image_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2})
    )
    assert verdict.status == "exact"
    assert tried[0]
    assert not any(tried[1:])


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", ["sam_vit_h", "qwen2_5_vl_vision", "swin_t", "hiera_b", "hat_x4"])
def test_the_cross_check_imports_neither_sympy_nor_the_compiler(preset):
    code = (
        "import sys; from samattn_cli.files.load import load_config; from samattn_cli.studies.verify import verify; "
        f"assert verify(load_config('{preset}'), every_layer=False).status == 'exact'; "
        "print(sorted({'sympy', 'torch._dynamo', 'torch._inductor'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
