"""How functions, arguments and results travel: as pickles, by reference where the other side can import them.

cloudpickle sends by value what cannot be imported there: lambdas, closures, and what `__main__` defines. A class that
was sent that way is recognised when an instance comes back. What plain pickle can send is left to it, which is faster.
"""

import io
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytaskfarmer.api.faults import CannotTravel, RemoteError, RemoteTraceback

_PROTOCOL = pickle.HIGHEST_PROTOCOL
_PICKLE = b"\x80"
_MAIN = b"__main__"

VALUES, FAULT = "values", "fault"
"""What a piece of a result is: the values of some calls that follow each other, or the exception of one."""


def pack(thing: object, what: str) -> bytes:
    """Return `thing` as bytes. Raises `CannotTravel`, whose text begins with `what`."""
    try:
        data = pickle.dumps(thing, _PROTOCOL)
        if _MAIN not in data:  # what `__main__` defines is another process's `__main__` there
            return data
    except Exception:
        pass
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(thing, _PROTOCOL))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise CannotTravel(f"{what} cannot travel to another process: {_told(error)}") from error


def pack_each(things: Sequence[object], what: Callable[[int], str]) -> bytes:
    """Return a sequence as bytes. Raises `CannotTravel` for the first thing that cannot; `what` names it."""
    try:
        return pack(things, "")
    except CannotTravel:
        for number, thing in enumerate(things):
            pack(thing, what(number))
        raise


def unpack(data: bytes) -> Any:
    """Return what was packed."""
    return pickle.loads(data)


def pieces_of(result: bytes) -> tuple[list[tuple[str, Any]], bytes]:
    """Return the pieces of a result, and what is behind the last."""
    stream = io.BytesIO(result)
    pieces = []
    end = 0
    while result[end : end + 1] == _PICKLE:
        pieces.append(pickle.load(stream))
        end = stream.tell()
    return pieces, result[end:]


def values_piece(values: Sequence[object], first: int) -> Iterator[bytes]:
    """Yield the values of some calls; one that cannot travel becomes an exception of its call."""
    try:
        yield pack((VALUES, values), "")
    except CannotTravel:
        for number, value in enumerate(values, first):
            try:
                piece = pack((VALUES, [value]), f"the result of call {number} ({_kind(value)})")
            except CannotTravel as error:
                piece = fault_piece(error)
            yield piece


def fault_piece(error: BaseException) -> bytes:
    """Return an exception, with its traceback as text, in a form that comes through."""
    text = "".join(traceback.format_exception(type(error), error, _of_the_call(error)))
    try:
        packed = pack(error, "")
        unpack(packed)  # many exceptions only fail there
    except BaseException:
        packed = pack(RemoteError(f"{_kind(error)}: {error!s:.1000}"), "")
    return pack((FAULT, (packed, text)), "")


def fault_from(content: tuple[bytes, str]) -> BaseException:
    """Return the exception of `fault_piece`, with the traceback as its cause."""
    packed, text = content
    try:
        error: BaseException = unpack(packed)
    except BaseException as problem:
        error = RemoteError(f"an exception that cannot be read here: {_told(problem)}")
    error.__cause__ = RemoteTraceback(text)
    return error


def _of_the_call(error: BaseException) -> Any:
    """Return the traceback from the called function on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("pytaskfarmer."):
        frames = frames.tb_next
    return frames


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
