"""Frozen dataclasses whose classes are quick to create, for modules that most commands import.

Before Python 3.13, the standard decorator compiles source text for each of six methods of a class. With 80 classes that
was a quarter of the start-up of `samattn analyze`. Here `__init__` is compiled when the first object is made; equality,
hash and representation are closures; and the standard decorator works on a class only when its fields are asked for
(`dataclasses.fields`, `asdict`, a class derived from it). `replace` does not ask for them, and takes about half the time
of the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "fields", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, fields, replace
else:
    import dataclasses
    from _thread import RLock
    from dataclasses import MISSING, Field, FrozenInstanceError
    from functools import cache
    from inspect import get_annotations
    from operator import attrgetter

    def replace(record: Any, **changes: Any) -> Any:
        """The standard `replace`, for dataclasses whose fields are all parameters of `__init__`."""
        cls = record.__class__
        positions, values_of, kw_only, is_plain = _fields_of(cls)
        if is_plain:
            for name in changes:
                positions[name]  # there is such a field
            made = cls.__new__(cls)
            made.__dict__.update(zip(positions, values_of(record)))  # noqa: B905 - this is the fast path
            made.__dict__.update(changes)
            return made
        values = list(values_of(record))
        for name, value in changes.items():
            values[positions[name]] = value
        return cls(**dict(zip(positions, values, strict=True))) if kw_only else cls(*values)

    def fields(record: Any) -> tuple[Field, ...]:
        """The standard `fields`, of which only names and defaults may be read: the standard decorator does not have to work."""
        cls = record if isinstance(record, type) else record.__class__
        unmade = cls.__dict__.get("__dataclass_fields__")
        alone = isinstance(unmade, _Unmade) and unmade.only_stores
        return _fields_declared(cls) if alone else dataclasses.fields(cls)

    @cache
    def _fields_of(cls: type) -> tuple[dict[str, int], Any, bool, bool]:
        """The position of each field, a function that returns the values of all, and whether some are given by name only.

        And whether `__init__` only stores the values, so that they can be stored without it.
        """
        unmade = cls.__dict__.get("__dataclass_fields__")
        alone = isinstance(unmade, _Unmade) and unmade.only_stores
        own = fields(cls)
        has_dict = cls.__dictoffset__ != 0 and not hasattr(cls, "__slots__")
        is_plain = cls in _SETTINGS and has_dict and not hasattr(cls, "__post_init__")
        kw_only = unmade.settings["kw_only"] if alone else any(field.kw_only for field in own)
        names = [field.name for field in own]
        values_of = attrgetter(*names) if len(names) > 1 else lambda record: [getattr(record, *names)]
        return {name: position for position, name in enumerate(names)}, values_of, kw_only, is_plain

    def dataclass(*, frozen: bool, kw_only: bool = False) -> Any:
        """The standard decorator for a frozen dataclass, with the same behaviour."""

        def decorated(cls: type) -> type:
            _Unmade(cls, frozen=frozen, kw_only=kw_only)
            return cls

        return decorated

    FEW = 30
    """So many objects of a class are made before its `__init__` is compiled."""

    _SETTINGS: dict[type, dict[str, bool]] = {}
    """The settings of all classes of this decorator that do not define `__init__` themselves."""

    class _Unmade:
        """What stands in for the attributes that the standard decorator sets, until one of them is used."""

        DATA = ("__dataclass_fields__", "__match_args__")
        METHODS = ("__init__", "__eq__", "__hash__", "__repr__")
        FROZEN = ("__setattr__", "__delattr__")

        def __init__(self, cls: type, **settings: bool) -> None:
            self.cls, self.settings, self.lock = cls, settings, RLock()
            if "__init__" not in cls.__dict__:
                _SETTINGS[cls] = settings
            names = (*self.DATA, *self.METHODS, *self.FROZEN)
            self.own = [name for name in names if name not in cls.__dict__]
            for name in self.own:
                setattr(cls, name, self.stand_in(name))

        @property
        def only_stores(self) -> bool:
            """Whether `__init__` only stores the fields, which this class and others of this decorator declare."""
            classes = _with_fields(self.cls)
            if hasattr(self.cls, "__post_init__") or any(
                _SETTINGS.get(each) != self.settings for each in classes
            ):
                return False
            is_mixed = not self.settings["kw_only"] and len(classes) > 1
            return not (is_mixed and any(field.kw_only is True for field in _fields_declared(self.cls)))

        def stand_in(self, name: str) -> Any:
            """What is found under a name until the class is made."""
            if name in self.FROZEN:
                return _refuse
            return self if name in self.DATA else self.first_call(name)

        def __get__(self, record: Any, owner: type | None = None) -> Any:
            """The fields. Nothing asks for the positional names of a pattern before there is an object."""
            self.make()
            return self.cls.__dataclass_fields__

        def first_call(self, name: str) -> Any:
            """A method that makes all methods, and then calls the one of its name."""

            def method(record: Any, *args: Any, **named: Any) -> Any:
                with self.lock:
                    if self.cls.__dict__[name] is method:
                        self.make_methods()
                return getattr(self.cls, name)(record, *args, **named)

            return method

        def make(self) -> None:
            """Let the standard decorator work, once, whichever thread comes first."""
            with self.lock:
                own, self.own = self.own, []
                for name in own:
                    delattr(self.cls, name)
                if own:
                    dataclasses.dataclass(**self.settings, eq=False, repr=False)(self.cls)
                    self.set_methods(own, _methods(dataclasses.fields(self.cls)))

        def make_methods(self) -> None:
            """Make the methods without the standard decorator, if the class has only fields of its own."""
            if not self.only_stores:
                self.make()
                return
            fields = _fields_declared(self.cls)
            init = _first_init(self.cls, fields, kw_only=self.settings["kw_only"])
            self.set_methods(self.own, (init, *_methods(fields)))

        def set_methods(self, names: list[str], methods: tuple[Any, ...]) -> None:
            """Set those of the methods that the class does not define itself."""
            for method in methods:
                if method.__name__ in names:
                    setattr(self.cls, method.__name__, method)

    def slotted(cls: type, *, eq: bool) -> type:
        """The class as a dataclass with slots, which is not frozen; its objects are compared and hashed by their values if `eq`."""
        own = {name: _field(name, cls.__dict__.get(name, MISSING)) for name in get_annotations(cls)}
        for field in own.values():
            field.type, field.kw_only = cls.__annotations__[field.name], False
            field._field_type = dataclasses._FIELD  # noqa: SLF001 - what `dataclasses.fields` looks for
        left_out = {*own, "__dict__", "__weakref__"}
        scope = {name: value for name, value in cls.__dict__.items() if name not in left_out}
        scope |= {"__slots__": tuple(own), "__match_args__": tuple(own), "__dataclass_fields__": own}
        scope["__qualname__"] = cls.__qualname__
        made = type(cls)(cls.__name__, cls.__bases__, scope)
        equal, hashed, shown = _methods(tuple(own.values()))
        made.__init__, made.__repr__ = _init(made, tuple(own.values()), kw_only=False, slots=True), shown
        if eq:
            made.__eq__, made.__hash__ = equal, hashed
        return made

    def maker(cls: type) -> Any:
        """A function that makes an object of a slotted dataclass from the same arguments as the class, in fewer instructions."""
        return _init(cls, tuple(cls.__dataclass_fields__.values()), kw_only=False, slots=True, makes=True)

    def _refuse(_self: Any, name: str, *_: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to or delete field {name!r}")

    @cache
    def _fields_declared(cls: type) -> tuple[Field, ...]:
        """The fields that a class and its bases declare, as the standard decorator would find them."""
        found: dict[str, Field] = {}
        for base in reversed(_with_fields(cls)):
            made = base.__dict__["__dataclass_fields__"]
            if not isinstance(made, _Unmade):
                found |= made  # the standard decorator has taken the defaults from the class
                continue
            found |= {
                name: _field(name, base.__dict__.get(name, MISSING))
                for name, annotation in get_annotations(base).items()
                if not annotation.startswith("ClassVar")
            }
        return tuple(found.values())

    def _with_fields(cls: type) -> list[type]:
        """The class and its bases that have fields."""
        return [base for base in cls.__mro__ if "__dataclass_fields__" in base.__dict__]

    def _field(name: str, declared: Any) -> Field:
        field = declared if isinstance(declared, Field) else dataclasses.field(default=declared)
        field.name = name
        return field

    def _first_init(cls: type, fields: tuple[Field, ...], *, kw_only: bool) -> Any:
        """An `__init__` for the first objects. Most classes have few, and compiling `__init__` takes longer than to make those."""
        names = [field.name for field in fields]
        left = iter(range(FEW))

        def __init__(self: Any, *args: Any, **named: Any) -> None:  # noqa: N807 - a method
            values = dict(zip(names, args))  # noqa: B905 - their number is compared below
            is_simple = next(left, None) is not None and len(values) == len(args) and not (kw_only and args)
            if is_simple and values.keys().isdisjoint(named):
                values |= named
                for field in fields if len(values) < len(names) else ():
                    if field.name not in values and field.default is not MISSING:
                        values[field.name] = field.default
                    elif field.name not in values and field.default_factory is not MISSING:
                        values[field.name] = field.default_factory()
                if values.keys() == positions:
                    self.__dict__.update(values)
                    return
            init = _init(cls, fields, kw_only=kw_only)
            if cls.__dict__.get("__init__") is __init__:
                cls.__init__ = init
            init(self, *args, **named)

        positions = {*names}
        return __init__

    def _init(
        cls: type, fields: tuple[Field, ...], *, kw_only: bool, slots: bool = False, makes: bool = False
    ) -> Any:
        """`__init__` as source text, with the defaults in the variables d0, d1, ...; or the function of a `maker`."""
        scope: dict[str, Any] = {
            "put": object.__setattr__,
            "absent": MISSING,
            "new": object.__new__,
            "cls": cls,
        }
        parameters, lines = [*([] if makes else ["self"]), *["*"][: kw_only and bool(fields)]], ["pass"]
        if makes:
            lines = ["self = new(cls)"]
        for number, field in enumerate(fields):
            value = name = field.name
            if field.default is not MISSING:
                scope[f"d{number}"] = field.default
                parameters.append(f"{name}=d{number}")
            elif field.default_factory is not MISSING:
                scope[f"d{number}"] = field.default_factory
                parameters.append(f"{name}=absent")
                value = f"d{number}() if {name} is absent else {name}"
            else:
                parameters.append(name)
            lines.append(f"self.{name} = {value}" if slots else f"put(self, {name!r}, {value})")
        lines.append("return self" if makes else "pass")
        exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines), scope)  # noqa: S102 - as the standard one
        init = scope["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        return init

    def _methods(fields: tuple[Field, ...]) -> tuple[Any, ...]:
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
