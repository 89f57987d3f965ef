"""How functions, arguments and results travel: as pickles, by reference where the other side can import them.

cloudpickle sends by value what cannot be imported there: lambdas, closures, and what `__main__` defines; see `byvalue`.
A class that was sent that way is recognised when an instance comes back, see `homecoming`. What plain
pickle can send is left to it, which is faster.

A result is a sequence of pieces, each a header that says of which calls it is and how long it is, and a pickle. So one
that a worker's death has torn is recognised, and one that cannot be unpacked costs no more than its own calls.
"""

import functools
import pickle
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

from pytaskfarmer.api import homecoming
from pytaskfarmer.api.faults import CannotTravel, RemoteError, RemoteTraceback
from pytaskfarmer.worker.wire import LARGEST_RESULT

_PROTOCOL = pickle.HIGHEST_PROTOCOL
_MAIN = b"__main__"
_HEADER = struct.Struct("<cc6xQQQ")
_LARGEST = LARGEST_RESULT - _HEADER.size
_MARK = b"\x80"  # as a pickle begins

Cached = type(functools.cache(len))
"""What `functools.cache` and `lru_cache` make."""

VALUES, FAULT = b"v", b"f"
"""What a piece of a result is: the values of some calls that follow each other, or the exception of one."""


class Piece(NamedTuple):
    """What became of `calls` calls, of which the first is at place `first` of its chunk."""

    kind: bytes
    first: int
    calls: int
    content: memoryview


def pack(thing: object, what: str) -> bytes:
    """Return `thing` as bytes. Raises `CannotTravel`, whose text begins with `what`."""
    try:
        data = pickle.dumps(thing, _PROTOCOL)
        if _MAIN not in data and not some_by_value():  # in a worker, `__main__` is another module
            return data
    except Exception:
        pass
    from pytaskfarmer.api import byvalue

    try:
        return byvalue.pack(thing, _PROTOCOL)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise CannotTravel(f"{what} cannot travel to another process: {_told(error)}") from error


def pack_each(things: Sequence[object], what: Callable[[int], str]) -> bytes:
    """Return a sequence as bytes. Raises `CannotTravel` for the first thing that cannot; `what` names it."""
    try:
        return pack(things, "")
    except CannotTravel as error:
        fault = error
    for number, thing in enumerate(things):
        pack(thing, what(number))
    raise fault


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Return what was packed."""
    return pickle.loads(data)


def pieces_of(result: bytes) -> tuple[list[Piece], bytes]:
    """Return the whole pieces of a result, and what is behind the last."""
    pieces = []
    start, view = 0, memoryview(result)
    while result[start : start + 1] == _MARK and start + _HEADER.size <= len(result):
        _, kind, first, calls, size = _HEADER.unpack_from(result, start)
        begin, end = start + _HEADER.size, start + _HEADER.size + size
        if end > len(result):
            break  # the worker has died while it handed this over
        pieces.append(Piece(kind, first, calls, view[begin:end]))
        start = end
    return pieces, result[start:]


def values_pieces(values: Sequence[object], first: int, number: int) -> list[bytes]:
    """Return the values of the calls from place `first` on, which is call `number` of all.

    One that cannot travel becomes an exception of its call.
    """
    try:
        return [_piece(VALUES, first, len(values), _checked(pack(values, ""), ""))] if values else []
    except BaseException:
        return [_value_piece(value, place, number + place - first) for place, value in enumerate(values, first)]


def _value_piece(value: object, place: int, number: int) -> bytes:
    what = f"the result of call {number} ({_kind(value)})"
    try:
        return _piece(VALUES, place, 1, _checked(pack([value], what), what))
    except BaseException as error:
        return fault_piece(error, place)


def _checked(packed: bytes, what: str) -> bytes:
    if len(packed) > _LARGEST:
        size = f"has {len(packed):,} bytes, and at most {_LARGEST:,} can travel"
        raise CannotTravel(f"{what} {size}; write it to a file and return its path")
    return packed


def values_from(piece: Piece) -> list[object]:
    """Return the values of a piece. Raises `CannotTravel`."""
    try:
        values: list[object] = homecoming.load(piece.content)
    except BaseException as error:
        raise CannotTravel(f"a result cannot be unpacked in the caller: {_told(error)}") from error
    return values


def fault_piece(error: BaseException, place: int, count: int = 1) -> bytes:
    """Return an exception of some calls, with its traceback as text, in a form that comes through."""
    text = "".join(traceback.format_exception(type(error), error, _of_the_call(error)))
    try:
        packed = pack(_explained(error), "")
        if not isinstance(homecoming.load(packed), Exception):  # many only fail there; SystemExit would end the caller
            raise TypeError
    except BaseException:
        packed = pack(RemoteError(_told(error)), "")
    return _piece(FAULT, place, count, pack((packed, text), ""))


def fault_from(piece: Piece) -> BaseException:
    """Return the exception of `fault_piece`, with the traceback as its cause."""
    packed, text = unpack(piece.content)
    try:
        error: BaseException = homecoming.load(packed)
    except BaseException as problem:
        error = RemoteError(f"an exception that cannot be unpacked in the caller: {_told(problem)}")
    error.__cause__ = RemoteTraceback(text)
    return error


def _piece(kind: bytes, first: int, count: int, content: bytes) -> bytes:
    return _HEADER.pack(_MARK, kind, first, count, len(content)) + content


def some_by_value() -> bool:
    """Whether the caller has asked cloudpickle to send modules by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


def _of_the_call(error: BaseException) -> Any:
    """Return the traceback from the called function on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("pytaskfarmer."):
        frames = frames.tb_next
    return frames


def _explained(error: BaseException) -> BaseException:
    if type(error) is NameError:
        error.add_note(
            "Workers do not inherit the caller's variables, as they would after a fork: pass what the function needs "
            "as an argument, or set it up by `initializer`."
        )
    return error


def is_stateless(function: object) -> bool:
    """Whether one copy of it will do for many calls: it is a function or a class, not an object that can be called."""
    return isinstance(function, FunctionType | type | Cached) or (
        isinstance(function, BuiltinFunctionType) and isinstance(function.__self__, ModuleType | None)
    )


def name_of(function: Callable[..., object]) -> str:
    """Return what a function is called in messages."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")


def _told(error: BaseException) -> str:
    try:
        words = "" if isinstance(error, SystemExit) and error.code is None else f"{error!s:.1000}"
    except Exception:
        words = "its text cannot be had"
    return f"{_kind(error)}: {words}" if words else _kind(error)
