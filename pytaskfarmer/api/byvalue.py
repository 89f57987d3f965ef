"""How what no worker can import travels: by value, as cloudpickle packs it, except for four things.

Functions of `__main__` find their variables in one namespace, see `variables`. What `functools.cache` and `lru_cache`
have made travels with an empty cache, where cloudpickle would send a name. Classes keep their full names and their
slots, where it would make instances with a dictionary, which could not come back. And an open file cannot travel, where
it would send the content.
"""

import functools
import sys
from collections.abc import Callable
from io import BufferedRandom, BufferedReader, BufferedWriter, BytesIO, FileIO, TextIOWrapper
from types import FunctionType
from typing import Any

import cloudpickle

from pytaskfarmer.api import variables

_Cached = type(functools.cache(len))
_FILES = (TextIOWrapper, BufferedReader, BufferedWriter, BufferedRandom, FileIO)


def pack(thing: object, protocol: int) -> bytes:
    """Return `thing` as bytes for `pickle.loads`. Raises whatever a part of it raises that cannot be packed."""
    with BytesIO() as file:
        _Pickler(file, protocol).dump(thing)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    def reducer_override(self, thing: Any) -> Any:
        """Return how `thing` is made again."""
        if isinstance(thing, FunctionType) and thing.__globals__.get("__name__") == "__main__":
            self.globals_ref.setdefault(id(thing.__globals__), variables.StandIn(thing.__globals__))
        elif isinstance(thing, _Cached) and (thing.__module__ == "__main__" or "<locals>" in thing.__qualname__):
            return _cached, (thing.__wrapped__, thing.cache_parameters())
        elif isinstance(thing, _FILES) and thing is not sys.stdout and thing is not sys.stderr:
            raise TypeError(f"cannot pickle the open file {getattr(thing, 'name', '')!r}")
        elif isinstance(thing, type):
            return _with_facts(super().reducer_override(thing), thing)
        return super().reducer_override(thing)


def _with_facts(made: Any, kind: type) -> Any:
    """Return how a class is made that has its full name and its slots, which nobody can set later.

    cloudpickle leaves out the former, by which `homecoming` knows it, and sets the latter later, which makes none.
    """
    if not isinstance(made, tuple) or made[0].__name__ != "_make_skeleton_class":
        return made
    make, (maker, name, bases, facts, *others), *rest = made
    facts = {**facts, "__qualname__": kind.__qualname__}
    if slots := vars(kind).get("__slots__"):
        facts["__slots__"] = slots
    return make, (maker, name, bases, facts, *others), *rest


def _cached(function: Callable[..., object], parameters: dict[str, Any]) -> Callable[..., object]:
    cached: Callable[..., object] = functools.lru_cache(**parameters)(function)
    return cached
