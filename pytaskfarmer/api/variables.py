"""The variables of `__main__` in a worker, where functions of `__main__` arrive by value.

Left to itself, cloudpickle gives functions that are packed apart each their own variables, so what an initializer sets
would be nowhere for the functions that are called later. Here each unpacking makes one namespace, which begins with
what the initializer has left: the names that it bound, and the lists and the like that came along with it, which it may
have changed. Attributes of functions and classes are kept likewise. These are not replaced by what the caller has
there; all else is as the caller had it when it packed. So two maps under way that were asked for with different values
of a variable do not meet. What was passed to a function is unpacked into its namespace, else a method and the function
that calls it would see different variables.
"""

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from pytaskfarmer.api import homecoming

_FACTS = ("__name__", "__package__", "__path__", "__file__")
_CONSTANT = FunctionType | type | ModuleType | int | float | complex | str | bytes | None

_Namespace = dict[str, object]


class _Here(threading.local):
    """What this thread unpacks now: what is to stand in new namespaces, those to take `again`, and all it has used."""

    left: Mapping[str, object] = {}
    again: Iterator[_Namespace] = iter(())
    made: list[_Namespace] | None = None


_here = _Here()


class StandIn(_Namespace):
    """What is packed in the place of the variables of `__main__`."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        super().__init__((name, variables[name]) for name in _FACTS if name in variables)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return namespace, (dict(self),)


def namespace(facts: _Namespace) -> _Namespace:
    """Return the variables of functions that are being unpacked."""
    variables = next(_here.again, None) or {**facts, **_here.left}
    if _here.made is not None:
        _here.made.append(variables)
    return variables


def unpacking() -> bool:
    """Whether this thread unpacks something in a worker, for which it perhaps imports modules."""
    return _here.made is not None


class Kept(NamedTuple):
    """A namespace of a function that was unpacked, and the names that were in it then."""

    variables: _Namespace
    names: frozenset[str]

    def values(self) -> _Namespace:
        """Return what those names are now."""
        return {name: self.variables[name] for name in self.names & self.variables.keys()}


class Variables:
    """What the initializer of this worker has left: variables, and attributes of functions and of classes."""

    def __init__(self) -> None:
        self._left: _Namespace = {}
        self._of_functions: dict[str, dict[str, object]] = {}
        self._of_classes: list[tuple[type, str, object]] = []

    def unpack(self, data: bytes, kept: list[Kept] | None = None) -> Any:
        """Return what was packed, whose functions find what was left.

        A function is unpacked with a list `kept`, empty at first. Unpacked again with the same list, it goes on with
        its variables as they are then; and what else is unpacked with it, such as arguments, shares them.
        """
        known = [(old.variables, old.values()) for old in kept or ()]
        thing, made = self._unpack(data, [variables for variables, _ in known])
        for variables in made:
            variables.update(self._left)  # again: older values have come with the functions
            for name, attributes in self._of_functions.items():
                if isinstance(function := variables.get(name), FunctionType):
                    vars(function).update(attributes)
        for variables, values in known:
            variables.update(values)
        if kept is not None and not known:
            kept += [Kept(variables, frozenset(variables)) for variables in made]
        return thing

    def initialize(self, data: bytes) -> None:
        """Call what was packed, a function and its arguments, and keep what it leaves."""
        (function, arguments), made = self._unpack(data)
        came = [dict(variables) for variables in made]
        functions = {name: thing for ours in made for name, thing in ours.items() if isinstance(thing, FunctionType)}
        classes = [thing for thing in homecoming.known_classes() if not issubclass(thing, Enum)]
        had = {id(thing): dict(vars(thing)) for thing in (*functions.values(), *classes)}
        function(*arguments)
        for variables, before in zip(made, came, strict=True):
            self._left |= _changed(variables, before)
        for name, thing in functions.items():
            if attributes := _changed(vars(thing), had[id(thing)]):
                self._of_functions[name] = attributes
        for kind in classes:
            changed = _changed(vars(kind), had[id(kind)])
            self._of_classes += [(kind, name, value) for name, value in changed.items() if _is_plain(name, value)]

    def _unpack(self, data: bytes, again: Iterable[_Namespace] = ()) -> tuple[Any, list[_Namespace]]:
        _here.left, _here.again, _here.made = self._left, iter(again), []
        try:
            thing = pickle.loads(data)
            for kind, name, value in self._of_classes:
                type.__setattr__(kind, name, value)  # again, as above
            return thing, _here.made
        finally:
            del _here.left, _here.again, _here.made


def _changed(now: Mapping[str, object], before: Mapping[str, object]) -> _Namespace:
    """Return what is new, what is another, and what may have another content."""
    return {
        name: value
        for name, value in now.items()
        if name not in before or value is not before[name] or not isinstance(value, _CONSTANT)
    }


def _is_plain(name: str, value: object) -> bool:
    """Whether this attribute of a class is a value, and neither a method or the like nor Python's own."""
    return not hasattr(type(value), "__get__") and not name.startswith("__") and name != "_abc_impl"
