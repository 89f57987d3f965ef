"""Functions packed again and again, as by `Executor.submit`: once is enough where they cannot have changed.

That is so for one that travels by reference, and for one of `__main__` that uses no variables of the caller other than
modules.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from pytaskfarmer.api import travel


@dataclass(frozen=True, slots=True)
class _Packed:
    """A function as bytes; if it travels by value, its `code`, and all names there that may be variables."""

    data: bytes
    code: CodeType | None = None
    names: frozenset[str] = frozenset()

    def is_still(self, function: Any) -> bool:
        """Whether a function would be packed like this again."""
        if self.code is None:
            return True
        same = self.code is function.__code__ and not (
            function.__closure__ or function.__defaults__ or function.__kwdefaults__ or function.__dict__
        )
        variables = function.__globals__
        return same and all(_is_module(variables[name]) for name in self.names if name in variables)


class Packing:
    """Packs functions."""

    def __init__(self) -> None:
        self._packed: WeakKeyDictionary[Callable[..., Any], _Packed] = WeakKeyDictionary()

    def pack(self, function: Callable[..., Any]) -> bytes:
        """Return a function as bytes. Raises `CannotTravel`."""
        simple = isinstance(function, FunctionType | BuiltinFunctionType)
        packed = self._packed.get(function) if simple else None
        if packed is not None and packed.is_still(function):
            return packed.data
        data = travel.pack(function, f"the function {travel.name_of(function)}")
        if simple:
            self._keep(function, data)
        return data

    def _keep(self, function: Callable[..., Any], data: bytes) -> None:
        if data == _reference(function):
            self._packed[function] = _Packed(data)
        elif isinstance(function, FunctionType) and function.__module__ == "__main__" and not travel.some_by_value():
            packed = _Packed(data, function.__code__, frozenset(_names(function.__code__)))
            if packed.is_still(function):
                self._packed[function] = packed


def _reference(function: Callable[..., Any]) -> bytes | None:
    """Return a function as pickle has it, which only knows references."""
    try:
        return pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return None


def _names(code: CodeType) -> Iterator[str]:
    """Yield all names of variables and attributes in some code, and in the functions that it makes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_module(value: object) -> bool:
    """Whether this travels by reference, as a module that can be imported."""
    return isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value
