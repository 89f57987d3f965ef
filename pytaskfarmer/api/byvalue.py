"""How what no worker can import travels: by value, as cloudpickle packs it, except for four things.

Functions of `__main__` find their variables in one namespace, see `variables`. What `functools.cache` and `lru_cache`
have made travels with an empty cache, where cloudpickle would send a name. Classes keep their slots, where it would
make instances with a dictionary, which could not come back. And an open file cannot travel, where it would send the
content.
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
        elif isinstance(thing, type) and (slots := vars(thing).get("__slots__")):
            return _with_slots(super().reducer_override(thing), slots)
        return super().reducer_override(thing)


def _with_slots(made: Any, slots: object) -> Any:
    """Return how a class is made that has its slots; to set `__slots__` later, as cloudpickle does, makes none."""
    if not isinstance(made, tuple) or made[0].__name__ != "_make_skeleton_class":
        return made
    make, (kind, name, bases, namespace, *others), *rest = made
    return make, (kind, name, bases, {**namespace, "__slots__": slots}, *others), *rest


def _cached(function: Callable[..., object], parameters: dict[str, Any]) -> Callable[..., object]:
    cached: Callable[..., object] = functools.lru_cache(**parameters)(function)
    return cached
