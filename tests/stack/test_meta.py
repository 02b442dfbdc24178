"""Operations on meta tensors give what torch gives, whether they are run or remembered."""

from __future__ import annotations

import pytest
import torch

from samattn_cli.stack import meta
from samattn_cli.stack.meta import OnMeta, run_on_meta

ATEN = torch.ops.aten
X = torch.empty(2, 3, 4, device="meta")
TURNED = torch.empty(2, 4, 3, device="meta").transpose(1, 2)


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(meta, "_RESULTS", {})


def layouts(result):
    tensors = [each for each in (result if isinstance(result, tuple) else (result,)) if each is not None]
    return [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device.type) for tensor in tensors]


def remembered():
    return [result for result in meta._RESULTS.values() if result is not None]


@pytest.mark.parametrize(
    ("operation", "args"),
    [
        (ATEN.mul.Tensor, (X, TURNED)),
        (ATEN.mul.Tensor, (TURNED, TURNED)),
        (ATEN.clone.default, (TURNED,)),
        (ATEN._to_copy.default, (X,)),
        (ATEN.addmm.default, (torch.empty(5, device="meta"), X[0], torch.empty(4, 5, device="meta"))),
        (ATEN.native_layer_norm.default, (X, [4], None, None, 1e-6)),
        (ATEN.cat.default, ([X, X], 1)),
        (ATEN.topk.default, (X, 2)),
        (ATEN.sum.default, (X,)),
        (ATEN.mul.Tensor, (torch.empty(0, 3, device="meta"), 2)),
    ],
    ids=str,
)
def test_the_second_result_has_the_layout_of_the_first_and_memory_of_its_own(operation, args):
    want = layouts(operation(*args))
    first, second = run_on_meta(operation, args, {}), run_on_meta(operation, args, {})
    assert layouts(first) == layouts(second) == want
    assert len(remembered()) == 1
    one, other = (result[0] if isinstance(result, tuple) else result for result in (first, second))
    assert one.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_numbers_that_are_equal_and_of_other_types_are_not_one_operation():
    x = torch.empty(3, dtype=torch.int64, device="meta")
    for _ in range(2):
        made = [run_on_meta(ATEN.mul.Tensor, (x, factor), {}).dtype for factor in (1, 1.0)]
        assert made == [torch.int64, torch.float32]


def test_keywords_make_another_operation():
    for _ in range(2):
        for dtype in (torch.float16, torch.float64):
            assert run_on_meta(ATEN._to_copy.default, (X,), {"dtype": dtype}).dtype == dtype


@pytest.mark.parametrize("operation", [ATEN.view.default, ATEN._unsafe_view.default])
def test_a_view_shares_the_memory_of_its_operand_each_time(operation):
    for _ in range(2):
        view = run_on_meta(operation, (X, [6, 4]), {})
        assert view.untyped_storage()._cdata == X.untyped_storage()._cdata
    assert not remembered()


def test_what_is_changed_in_place_is_returned_itself():
    for _ in range(2):
        assert run_on_meta(ATEN.add_.Tensor, (X, 1), {}) is X
    assert not meta._RESULTS


def test_real_tensors_are_computed():
    for number in (2.0, 3.0):
        real = run_on_meta(ATEN.mul.Tensor, (torch.tensor([number]), 2), {})
        assert real.tolist() == [2 * number]
    assert not meta._RESULTS


def test_a_wrong_operation_is_an_error_each_time():
    for _ in range(2):
        with pytest.raises(RuntimeError):
            run_on_meta(ATEN.mm.default, (X[0], X[0]), {})


def test_no_more_is_remembered_than_said(monkeypatch):
    monkeypatch.setattr(meta, "MOST", 2)
    for size in range(1, 6):
        run_on_meta(ATEN.neg.default, (torch.empty(size, device="meta"),), {})
    assert 1 <= len(remembered()) <= 2


def test_a_mode_runs_a_function_of_torch_so():
    with OnMeta():
        first, second = (torch.nn.functional.gelu(X) for _ in range(2))
    assert layouts(first) == layouts(second) == layouts(X)
    assert len(remembered()) == 1
