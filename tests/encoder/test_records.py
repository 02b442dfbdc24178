"""Frozen dataclasses that are quick to create behave as those of the standard library."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from samattn_cli.records import FEW, dataclass, fields, replace
from samattn_cli.tape.immutable import immutable


def declared(decorator: Any) -> tuple[type, type]:
    """A class and a class derived from it, by a decorator."""

    @decorator(frozen=True)
    class Size:
        height: int
        width: int = 1
        note: str = dataclasses.field(default="", compare=False)
        seen: int = dataclasses.field(default=0, repr=False)

    @decorator(frozen=True, kw_only=True)
    class Window(Size):
        shift: int = 0

    return Size, Window


PAIRS = list(zip(declared(dataclass), declared(dataclasses.dataclass), strict=True))
VALUES = [
    {"height": 2},
    {"height": 2, "note": "other"},
    {"height": 2, "seen": 3},
    {"height": 3, "width": 4},
]


@pytest.mark.parametrize(("ours", "standard"), PAIRS)
def test_it_is_equal_hashed_and_shown_as_the_standard_one(ours: Any, standard: Any) -> None:
    mine, theirs = [ours(**value) for value in VALUES], [standard(**value) for value in VALUES]
    assert [[one == other for other in mine] for one in mine] == [
        [one == other for other in theirs] for one in theirs
    ]
    assert [hash(one) for one in mine] == [hash(one) for one in theirs]
    assert [repr(one) for one in mine] == [repr(one) for one in theirs]


def test_other_classes_are_never_equal() -> None:
    (size, window), (other_size, _) = declared(dataclass), declared(dataclasses.dataclass)
    assert size(height=2) != window(height=2)
    assert size(height=2) != other_size(height=2)


def test_it_cannot_be_changed() -> None:
    size, _ = declared(dataclass)
    with pytest.raises(dataclasses.FrozenInstanceError):
        size(height=2).height = 3


def test_without_fields_all_are_equal() -> None:
    @dataclass(frozen=True)
    class Nothing:
        pass

    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1


def test_a_method_of_the_class_is_kept() -> None:
    @dataclass(frozen=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

    assert repr(Named("global")) == "global"


@pytest.mark.parametrize("changes", [{}, {"height": 5}, {"width": 6, "note": "changed", "seen": 7}])
@pytest.mark.parametrize("cls", declared(dataclass)[:1] + declared(dataclasses.dataclass)[:1])
def test_a_changed_copy_is_that_of_the_standard_library(cls: Any, changes: dict[str, Any]) -> None:
    record = cls(height=2, note="first", seen=1)
    assert vars(replace(record, **changes)) == vars(dataclasses.replace(record, **changes))
    assert vars(record) == vars(cls(height=2, note="first", seen=1))


def test_a_changed_copy_refuses_an_unknown_field() -> None:
    with pytest.raises(KeyError, match="depth"):
        replace(PAIRS[0][0](height=2), depth=1)


def test_it_is_made_by_whatever_uses_it_first() -> None:
    """Fields of a class without objects, a class derived from one, an object made without `__init__`, `replace`."""
    size, window = declared(dataclass)
    assert [field.name for field in dataclasses.fields(window)] == [
        "height",
        "width",
        "note",
        "seen",
        "shift",
    ]
    assert size(1) == size(height=1)
    size, _ = declared(dataclass)
    bare = size.__new__(size)
    vars(bare).update(height=2, width=1, note="", seen=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        bare.height = 3
    assert bare == size(2)
    assert replace(bare, width=4) == dataclasses.replace(bare, width=4) == size(2, 4)
    with pytest.raises(
        TypeError, match=r"Size.__init__\(\) missing 1 required positional argument: 'height'"
    ):
        size()


def test_a_default_factory_is_called_for_each_object() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Cache:
        known: dict[str, int] = dataclasses.field(default_factory=dict)

    one, other = Cache(), Cache()
    assert one == other
    assert one.known is not other.known
    assert replace(one, known={"a": 1}) == Cache(known={"a": 1})
    with pytest.raises(TypeError):
        Cache({})


def test_objects_are_alike_before_and_after_init_is_compiled() -> None:
    """The first objects of a class are made without a compiled `__init__`; later ones are equal."""
    part, layer = sections()
    for number in range(2 * FEW):
        made = layer(name="b", index=number)
        assert (made.name, made.ops, made.kept, made.index) == ("b", (), {}, number)
        assert made == replace(layer(name="a"), name="b", index=number)
    assert [each.name for each in fields(layer)] == ["name", "ops", "kept", "index"]
    assert [each.name for each in dataclasses.fields(layer)] == ["name", "ops", "kept", "index"]
    assert layer(name="b") == layer(name="b", kept={}) != part(name="b")


def test_the_first_object_is_refused_as_later_ones_are() -> None:
    """Arguments that do not fit, before and after `__init__` is compiled."""
    for _, layer in (sections(), sections()):
        for _ in range(2):
            with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'name'"):
                layer(index=1)
            with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
                layer(name="b", depth=1)
            with pytest.raises(TypeError, match="positional"):
                layer("b")


def test_a_base_has_a_field_that_is_given_by_name_only() -> None:
    """A derived class has its own field before that."""

    @dataclass(frozen=True)
    class Step:
        forward: int
        one_by_one: bool = dataclasses.field(default=False, kw_only=True)

    @dataclass(frozen=True)
    class Sharded(Step):
        ranks: int

    made = Sharded(1, 2, one_by_one=True)
    assert (made.forward, made.ranks, made.one_by_one) == (1, 2, True)
    assert replace(made, ranks=3) == Sharded(1, 3, one_by_one=True)
    with pytest.raises(TypeError):
        Sharded(1, 2, True)


def test_a_record_with_slots_is_a_dataclass() -> None:
    """Compared with the standard decorator's."""
    both = []
    for decorator in (
        immutable(frozen=True, eq=True),
        dataclasses.dataclass(eq=True, unsafe_hash=True, slots=True),
    ):

        @decorator
        class Weight:
            """A weight."""

            name: str
            shape: tuple[int, ...] = ()
            number: int = dataclasses.field(default_factory=lambda: 7)

            @property
            def rank(self) -> int:
                return len(self.shape)

        both.append(Weight)
    for make in both:
        one = make("w", shape=(2, 3))
        assert (one.rank, one.number, make.__doc__, make.__slots__) == (
            2,
            7,
            "A weight.",
            ("name", "shape", "number"),
        )
        assert one == make("w", (2, 3), 7) != make("w")
        assert hash(one) == hash(make("w", (2, 3)))
        assert repr(one).endswith("Weight(name='w', shape=(2, 3), number=7)")
        assert dataclasses.asdict(one) == {"name": "w", "shape": (2, 3), "number": 7}
        assert dataclasses.replace(one, name="b") == replace(one, name="b") == make("b", (2, 3))
        with pytest.raises(AttributeError):
            one.depth = 1
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
            make()


def sections() -> tuple[Any, Any]:
    """A class with a default of each kind, and a class derived from it with the same settings."""

    @dataclass(frozen=True, kw_only=True)
    class Part:
        name: str
        ops: tuple[int, ...] = ()
        kept: dict[str, int] = dataclasses.field(default_factory=dict)

    @dataclass(frozen=True, kw_only=True)
    class Layer(Part):
        index: int = 0

    return Part, Layer
