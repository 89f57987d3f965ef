"""Whether a function that travels by value is the one of an earlier process, in as far as that can be told.

Packed bytes cannot tell: those of a class differ in each process, and those of a function with each line above it.
What is compared is code without its lines and its docstring, defaults, what a closure holds, and the variables of its
module that the code reads: plain values, short lists and the like of them, and functions and classes that travel by
value, too. Of all else only the type counts. Where the code was compiled by another Python, nothing is known.
"""

import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_PLAIN = int | float | complex | str | bytes | None
_READ = {"LOAD_GLOBAL", "LOAD_NAME"}
_SHORT, _MOST_WORDS = 1000, 100_000
_CACHED = type(functools.cache(len))


def likeness(function: Callable[..., object]) -> str:
    """Return a text that is another one when the function is; "" if it travels by name, or cannot be looked into."""
    try:
        if _has_name(function):
            return ""
        words = "\n".join(islice(_words(function, {}), _MOST_WORDS))
    except Exception:  # of whatever object it uses
        return ""
    return f"{sys.implementation.cache_tag} {hashlib.sha256(words.encode(errors='replace')).hexdigest()}"


def differ(one: str, other: str) -> bool:
    """Whether two likenesses are known to be those of different functions."""
    return bool(one and other) and one != other and one.split()[0] == other.split()[0]


def _has_name(thing: Any) -> bool:
    """Whether other processes can import this."""
    if isinstance(thing, functools.partial):
        return _has_name(thing.func)
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "__main__")
    if found is None or found.__name__ == "__main__":
        return False
    for name in getattr(thing, "__qualname__", type(thing).__qualname__).split("."):
        found = getattr(found, name, None)
    return found is thing


def _words(thing: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Yield what is known of a function, or of what it uses; what was `seen` is kept, so that its id is its own."""
    if isinstance(thing, _PLAIN):
        yield repr(thing)
    elif id(thing) in seen:
        yield "again"
    else:
        seen[id(thing)] = thing
        yield type(thing).__qualname__
        for part in _parts(thing):
            yield from _words(part, seen)


def _parts(thing: Any) -> Iterable[Any]:
    """Return what something is made of, the same in each process."""
    if isinstance(thing, tuple | list | set | frozenset | dict):
        return _elements(thing) if len(thing) <= _SHORT else (len(thing),)
    if isinstance(thing, functools.partial):
        return thing.func, thing.args, thing.keywords
    if isinstance(thing, CodeType):
        return thing.co_code, thing.co_names, *thing.co_consts
    if isinstance(thing, ModuleType):
        return (thing.__name__,)
    if isinstance(thing, staticmethod | classmethod | MethodType):
        return (thing.__func__,)
    if isinstance(thing, property):
        return thing.fget, thing.fset
    if isinstance(thing, FunctionType | type) and _has_name(thing):
        return thing.__module__, thing.__qualname__
    if isinstance(thing, type):
        return _of_class(thing)
    if isinstance(thing, FunctionType):
        return _of_function(thing)
    if isinstance(thing, _CACHED):
        return (thing.__wrapped__,)
    return () if _has_name(type(thing)) else (type(thing),)


def _elements(many: Any) -> Iterable[Any]:
    if isinstance(many, set | frozenset):
        return sorted(map(repr, many)) if all(isinstance(each, _PLAIN) for each in many) else ()
    return [*many, *many.values()] if isinstance(many, dict) else many


def _of_class(made: type) -> Iterator[Any]:
    for name, value in vars(made).items():
        if not name.startswith("__") or callable(value):
            yield name
            yield value


def _of_function(function: FunctionType) -> Iterator[Any]:
    code = function.__code__
    yield code.co_code
    yield code.co_names
    yield from code.co_consts[1:] if code.co_consts[:1] == (function.__doc__,) else code.co_consts
    yield function.__defaults__
    yield function.__kwdefaults__
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a function that is being made refers to itself
            yield None
    for name in sorted(_variables(code)):
        yield name
        yield function.__globals__.get(name)


def _variables(code: CodeType) -> Iterator[str]:
    """Yield the variables of their module that some code, and the functions it makes, read."""
    import dis

    yield from {str(step.argval) for step in dis.get_instructions(code) if step.opname in _READ}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _variables(constant)
