"""Formulas against Python's own integers: whatever is done to symbols gives, at each point, what it does to numbers."""

import operator

import numpy as np
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samattn_cli.tape.symbols.formula import Formula, greatest, largest_ones
from samattn_cli.tape.symbols.space import MixedPointsError, Space
from samattn_cli.tape.symbols.written import Writer
from tests.support.sampling import examples

PROPERTY = settings(max_examples=examples(200), deadline=None, derandomize=True)
NAMES = "abc"
POINTS = st.lists(st.tuples(*[st.integers(1, 50)] * 3), min_size=1, max_size=5)
OPERATIONS = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod]


@st.composite
def programs(draw) -> list[tuple]:
    """Steps on a list of values that begins with the symbols and some numbers: (operation, one, two)."""
    steps = []
    for made in range(draw(st.integers(1, 8))):
        places = st.integers(0, len(NAMES) + 2 + made)
        operation = draw(st.sampled_from([*OPERATIONS, "greatest", "ceil"]))
        steps.append((operation, draw(places), draw(places)))
    return steps


def run(steps: list[tuple], symbols: list):
    values = [*symbols, 2, 7, 512]
    for operation, at, other in steps:
        one, two = values[at], values[other]
        if operation in {operator.floordiv, operator.mod, "ceil"} and not two > 0:
            raise ZeroDivisionError  # sizes are divided by sizes
        if operation == "greatest":
            values.append(greatest([one, two]))
        elif operation == "ceil":
            values.append(-(-one // two))
        else:
            values.append(operation(one, two))
    return values


@PROPERTY
@given(steps=programs(), points=POINTS)
def test_a_program_on_symbols_is_that_program_on_the_numbers_of_each_point(steps, points):
    try:
        wanted = [run(steps, list(point)) for point in points]
    except ZeroDivisionError:
        assume(False)
    columns = {name: np.array(values) for name, values in zip(NAMES, zip(*points, strict=True), strict=True)}
    space = Space(columns)
    try:
        found = run(steps, [space.symbol(name) for name in NAMES])
    except (ZeroDivisionError, MixedPointsError):
        assume(False)
    (evaluate,) = space.chunks()
    for place, value in enumerate(found):
        values = np.broadcast_to(evaluate(value), len(points))
        assert [int(each) for each in values] == [point[place] for point in wanted]
        low, high = space.bounds(value)
        assert all(low <= point[place] <= high for point in wanted)


@PROPERTY
@given(steps=programs(), point=st.tuples(*[st.integers(1, 50)] * 3))
def test_what_is_written_has_the_number_of_the_formula(steps, point):
    space = Space(dict(zip(NAMES, point, strict=True)))
    try:
        wanted = run(steps, list(point))[-1]
        formula = run(steps, [space.symbol(name) for name in NAMES])[-1]
    except (ZeroDivisionError, MixedPointsError):
        assume(False)
    meanings = {"ceil": sympy.ceiling, "floor": sympy.floor, "max": sympy.Max}
    values = {name: sympy.Integer(value) for name, value in zip(NAMES, point, strict=True)}
    assert eval(Writer()(formula), meanings | values) == wanted


def test_equal_polynomials_are_equal_without_looking_at_a_point():
    space = Space({"a": np.array([3, 4]), "b": np.array([5, 9])})
    a, b = space.symbol("a"), space.symbol("b")
    space.points.clear()
    assert (a + b) * (a - b) == a * a - b * b
    assert (a * b * 12) // (b * 4) == 3 * a
    assert -(-a * 512 // 512) == a
    assert (6 * a * b + 3) // 3 == 2 * a * b + 1


def test_points_that_part_ways_say_at_what():
    space = Space({"a": np.array([14, 15, 28])})
    a = space.symbol("a")
    with pytest.raises(MixedPointsError) as caught:
        bool(a % 14 == 0)
    (evaluate,) = space.chunks()
    assert list(evaluate(caught.value.formula) == 0) == [True, False, True]


def test_a_loop_over_a_symbol_is_over_its_number_where_it_has_one():
    space = Space({"a": np.array([3, 3]), "b": np.array([2, 3])})
    assert len(range(space.symbol("a"))) == 3
    with pytest.raises(MixedPointsError):
        range(space.symbol("b"))


def test_integers_beyond_64_bits_are_exact():
    space = Space({"a": np.array([2**31, 3])})
    a = space.symbol("a")
    (evaluate,) = space.chunks()
    assert evaluate(a * a).dtype == np.int64
    assert list(evaluate(a**3 - a)) == [2**93 - 2**31, 24]
    assert list(evaluate(a**3 // 1024 + 1)) == [2**83 + 1, 1]
    assert list(evaluate(greatest([a**3, a**3 - 5 + a]))) == [2**93 + 2**31 - 5, 27]


def test_a_maximum_leaves_out_what_is_never_the_largest():
    space = Space({"a": np.array([1, 9]), "b": np.array([1, 9])})
    a, b = space.symbol("a"), space.symbol("b")
    assert repr(greatest([a, a + b, a + 2 * b])) == repr(a + 2 * b)
    assert isinstance(greatest([a, b]), Formula)
    assert greatest([3, 8, 5]) == 8


def test_the_largest_of_a_number_and_a_symbol_that_is_that_number_is_the_symbol():
    a = Space({"a": 1}).symbol("a")
    assert repr(greatest([1, a])) == repr(greatest([a, 1])) == "a"


def test_formulas_are_written_as_people_write_them():
    points = {"h": [12, 60], "d": [64, 80], "w": [14, 16]}
    space = Space({name: np.array(values) for name, values in points.items()})
    h, d, w = map(space.symbol, "hdw")
    writer = Writer(("", "w", "h", "C", "d"), {("h", "d"): "C"})
    assert writer(3 * h * d * h * d + h * d) == "C*(3*C + 1)"
    assert writer(h * d * d) == "C*d"
    assert writer(2 * w * d - d) == "d*(2*w - 1)"
    assert writer(-(-h // w) * w * w * 5) == "5*ceil(h/w)*w**2"
    assert writer((h + 1) // (2 * w)) == "floor((h + 1)/(2*w))"
    assert writer(greatest([h * 2, w + d])) == "max(2*h, d + w)"
    assert writer(h - h) == "0"


def test_the_bounds_of_a_difference_are_those_of_the_formula():
    space = Space({"a": np.array([2, 5, 9]), "b": np.array([1, 4, 6])})
    a, b = space.symbol("a"), space.symbol("b")
    formulas = [a, 3, 0, a * b - 7 * a, 2 * b * b - a + 5, -a * b, a // 2 + b]
    for one in formulas:
        for other in formulas:
            assert space.bounds.of_difference(one, other) == space.bounds(one - other)


def test_what_is_kept_for_a_lot_is_recalled_where_its_comparisons_have_the_same_answers():
    space = Space({"a": np.arange(1, 10)})
    a = space.symbol("a")

    def recalled_at(*points: int) -> object:
        space.take({"a": np.array(points)})
        return space.recalled("size")

    assert recalled_at(7, 8) is None
    with space.keeping("size") as keep:
        keep("large" if a > 0 and a > 5 else "small")
    assert recalled_at(6, 9) == "large"
    assert space.recalled("another") is None
    assert recalled_at(2, 3) is None
    with space.keeping("size") as keep:
        keep("large" if a > 5 else "small")
    assert [recalled_at(5), recalled_at(6)] == ["small", "large"]
    with pytest.raises(MixedPointsError):
        recalled_at(5, 6)


def test_a_kept_maximum_has_what_is_the_largest_in_other_lots():
    space = Space({"a": np.arange(1, 10)})
    a = space.symbol("a")
    space.take({"a": np.array([1, 2])})
    assert greatest([a, 5]) == 5
    with space.keeping("most") as keep:
        keep(greatest([a, 5]))
    space.take({"a": np.array([4, 7])})
    (evaluate,) = space.chunks()
    assert evaluate(space.recalled("most")).tolist() == [5, 7]


def test_what_may_be_the_largest_in_another_lot_stays():
    space = Space({"a": np.arange(1, 10)})
    a = space.symbol("a")
    space.take({"a": np.array([1, 2])})
    assert [repr(value) for value in largest_ones([a, 5, a - 1])] == ["a", "5"]
    assert largest_ones([3, 7, 5]) == (7,)
