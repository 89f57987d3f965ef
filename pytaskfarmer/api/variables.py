"""The variables of `__main__` in a worker, where functions of `__main__` arrive by value.

Left to itself, cloudpickle gives functions that are packed apart each their own variables, so what an initializer sets
would be nowhere for the functions that are called later. Here each unpacking makes one namespace, which begins with
what the initializer has left: the names that it bound, and the lists and the like that came along with it, which it may
have changed. These are not replaced by what the caller has there; all else is as the caller had it when it packed. So
two maps under way that were asked for with different values of a variable do not meet.
"""

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

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


class Variables:
    """What the initializer of this worker has left."""

    def __init__(self) -> None:
        self._left: _Namespace = {}

    def unpack(self, data: bytes, kept: list[_Namespace] | None = None) -> Any:
        """Return what was packed, whose functions find what was left.

        Unpacked again with the same list `kept`, empty at first, they go on with their variables as they are then.
        """
        known = [(variables, dict(variables)) for variables in kept or ()]
        thing, made = self._unpack(data, kept or ())
        for variables in made:
            variables.update(self._left)  # again: older values have come with the functions
        for variables, values in known:
            variables.update(values)
        if kept is not None and not known:
            kept += made
        return thing

    def initialize(self, data: bytes) -> None:
        """Call what was packed, a function and its arguments, and keep what it leaves."""
        (function, arguments), made = self._unpack(data)
        came = [dict(variables) for variables in made]
        function(*arguments)
        for variables, before in zip(made, came, strict=True):
            for name, value in variables.items():
                if name not in before or value is not before[name] or not isinstance(value, _CONSTANT):
                    self._left[name] = value

    def _unpack(self, data: bytes, again: Iterable[_Namespace] = ()) -> tuple[Any, list[_Namespace]]:
        _here.left, _here.again, _here.made = self._left, iter(again), []
        try:
            return pickle.loads(data), _here.made
        finally:
            del _here.left, _here.again, _here.made
