"""Frozen dataclasses whose classes are quick to create, for modules that most commands import.

Before Python 3.13, the standard decorator compiles source text for each of six methods of a class. With 80 classes that
was a quarter of the start-up of `samattn analyze`. Here equality, hash and representation are closures instead. `replace`
is for places that copy thousands of dataclasses; it takes about half the time of the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    import dataclasses
    from functools import cache
    from operator import attrgetter

    def replace(record: Any, **changes: Any) -> Any:
        """The standard `replace`, for two or more fields that are all positional parameters of `__init__`."""
        positions, values_of = _fields_of(record.__class__)
        values = list(values_of(record))
        for name, value in changes.items():
            values[positions[name]] = value
        return record.__class__(*values)

    @cache
    def _fields_of(cls: type) -> tuple[dict[str, int], Any]:
        names = [field.name for field in dataclasses.fields(cls)]
        return {name: position for position, name in enumerate(names)}, attrgetter(*names)

    def dataclass(*, frozen: bool, kw_only: bool = False) -> Any:
        """The standard decorator for a frozen dataclass, with the same behaviour."""

        def decorated(cls: type) -> type:
            made = dataclasses.dataclass(frozen=frozen, kw_only=kw_only, eq=False, repr=False)(cls)
            for method in _methods(dataclasses.fields(made)):
                if method.__name__ not in cls.__dict__:
                    setattr(made, method.__name__, method)
            return made

        return decorated

    def _methods(fields: tuple[dataclasses.Field, ...]) -> tuple[Any, ...]:
        """Equality and hash by the values of the fields that are compared, and a representation of those that are shown."""
        compared = tuple(field.name for field in fields if field.compare)
        shown = tuple(field.name for field in fields if field.repr)
        values = attrgetter(*compared) if compared else type  # without fields, all of a class are equal

        def __eq__(self: Any, other: object) -> Any:  # noqa: N807 - a method
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        def __hash__(self: Any) -> int:  # noqa: N807 - a method
            return hash(values(self))

        def __repr__(self: Any) -> str:  # noqa: N807 - a method
            inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{self.__class__.__qualname__}({inner})"

        return __eq__, __hash__, __repr__
