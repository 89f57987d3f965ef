"""What a worker of the `python` runner does with a task: read its line, call its function, write its result.

How a line is read is said in the docstring of `Python`. What a user can get wrong is a `FarmError`; what the function
itself raises passes through untouched, so that the traceback in the task's log is about the user's code alone.

Whether a `TypeError` is about the line or comes from inside the function is decided after the call: binding the
arguments beforehand would refuse calls that work, since a decorator may hand over more than the signature tells.
"""

import difflib
import importlib
import json
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, TracebackType

from pytaskfarmer.errors import FarmError
from pytaskfarmer.task import decode, printable
from pytaskfarmer.worker.servant import TaskFacts


@dataclass(frozen=True, slots=True)
class Call:
    """What a line asks for: a function, as `module:function`, and what to hand to it."""

    function: str
    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = field(default_factory=dict)


class Calls:
    """Calls the function that each task names, or `function` with the task's line.

    `setup` is called at once. Both are `module:function`; modules are looked for in the current directory, then in
    `path`, then where Python looks. With a `concurrency` above 1 only `async def` functions are accepted.

    Raises `FarmError` if there is no such function, or `setup` fails.
    """

    def __init__(self, function: str | None, setup: str | None, path: Sequence[str], concurrency: int) -> None:
        sys.path[:0] = [os.getcwd(), *path]
        self._concurrency = concurrency
        self._found: dict[str, Callable[..., object]] = {}
        if setup is not None:
            set_up(setup)
        self._function = function
        if function is not None:
            self._find(function)

    def perform(self, request: bytes, task: TaskFacts) -> bytes | Awaitable[bytes | None] | None:
        """Call the function of one task and return its result as JSON; None for None.

        Raises `FarmError` for a line or a result that cannot be used, and whatever the function raises.
        """
        line = decode(request)
        call = parse(line) if self._function is None else Call(self._function, (line,))
        function = self._find(call.function)
        try:
            result = function(*call.arguments, **call.keywords)
        except TypeError as error:
            inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if not inside and (mismatch := find_mismatch(function, call)):
                raise FarmError(mismatch) from error
            raise
        if isinstance(result, Awaitable):
            return _awaited(call.function, result)
        return write(call.function, result)

    def _find(self, name: str) -> Callable[..., object]:
        if name not in self._found:
            function = find(name)
            if self._concurrency > 1 and not _is_async(function):
                raise FarmError(
                    f"{name} is no `async def` function, so a worker cannot hold {self._concurrency} calls of it in "
                    "flight; take concurrency = 1, and more workers with --proc"
                )
            self._found[name] = function
        return self._found[name]


# -- the line


def parse(line: str) -> Call:
    """Return what `line` asks for. Raises `FarmError` if it cannot be read."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        reason = str(error).lower()
        raise FarmError(
            f"the line cannot be split into words ({reason}); close each quote, and double a backslash"
        ) from None
    if not words or not names_function(words[0]):
        raise FarmError(f"the line starts with {printable(words[0] if words else line)!r}, not with module:function")
    arguments: list[object] = []
    keywords: dict[str, object] = {}
    for word in words[1:]:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            arguments.append(parse_value(word))
        elif name in keywords:
            raise FarmError(f"the line gives {printable(name)!r} twice; leave one of them out")
        else:
            keywords[name] = parse_value(text)
    return Call(words[0], tuple(arguments), keywords)


def parse_value(text: str) -> object:
    """Return what `text` says in JSON, or `text` itself if it is not JSON. Raises `FarmError` if it is too deep."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    except RecursionError:
        raise FarmError(f"{printable(text, 40)!r} is nested too deeply; put it into a file, and name that") from None
    return value


def names_function(text: str) -> bool:
    """Whether `text` is of the form `module:function`; either may have dots in it."""
    module, _, function = text.partition(":")
    return all(part.isidentifier() for name in (module, function) for part in name.split("."))


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


# -- options


def check_functions(**options: str | None) -> None:
    """Raise `ValueError` for an option that does not name a function."""
    for option, name in options.items():
        if name is not None and not names_function(name):
            raise ValueError(f"{option} is {name!r}; write it as module:function")


def check_counts(**options: int | None) -> None:
    """Raise `ValueError` for an option that is below 1."""
    for option, number in options.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} is {number}; it must be 1 or more")


def directories(path: Sequence[str]) -> tuple[str, ...]:
    """Return the directories of an option `path`, absolute. Raises `ValueError` for one that is not there."""
    found = tuple(os.path.abspath(os.path.expanduser(directory)) for directory in path)
    for directory in found:
        if not os.path.exists(directory):
            raise ValueError(f"path names {directory!r}, but there is no such directory; correct it")
    return found


# -- the function


def find(name: str) -> Callable[..., object]:
    """Import and return what `module:function` names. Raises `FarmError` if there is no such thing to call."""
    module_name, _, path = name.partition(":")
    found: object = _import(module_name)
    owner = f"module {module_name!r} ({getattr(found, '__file__', None) or 'built in'})"
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            close = difflib.get_close_matches(part, dir(found), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "correct the name"
            raise FarmError(f"{owner} has no {part!r}; {hint}") from None
        owner = repr(part)
    if not callable(found):
        raise FarmError(f"{name} is a value of type {type(found).__name__}, which cannot be called; name a function")
    return found


def find_mismatch(function: Callable[..., object], call: Call) -> str | None:
    """Return in which way `function` does not take these arguments; None if it does, or if that is not known."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*call.arguments, **call.keywords)
    except TypeError as error:
        return f"the line does not fit {printable(call.function + str(signature))}: {error}"
    return None


def set_up(name: str) -> None:
    """Call the function of that name, without arguments. Raises `FarmError` if it cannot be called, or fails."""
    function = find(name)
    if _is_async(function):
        raise FarmError(f"setup {name} is `async def`, but runs before there is an event loop; write it as plain `def`")
    try:
        function()
    except (Exception, SystemExit) as error:
        raise FarmError(f"setup {name} failed with {_told(error)}") from error


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise FarmError(
                f"there is no module {error.name!r} in {sys.path[0]} or where Python looks; name it as `import` would, "
                "without .py, and its directory in the option `path`"
            ) from None
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> FarmError:
    return FarmError(f"importing {name!r} failed with {_told(error)}; `python3 -c 'import {name}'` shows more")


def _is_async(function: Callable[..., object]) -> bool:
    import inspect

    return any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function), type(function).__call__)))


# -- the result


def write(name: str, result: object) -> bytes | None:
    """Return a function's result as JSON text, None for None.

    What has a `tolist`, such as numbers and arrays of numpy, is written as what that returns. Raises `FarmError` for
    what JSON cannot say, NaN and infinities among it: a result is what the function returned, or the task has failed.
    """
    if result is None:
        return None
    try:
        return json.dumps(result, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FarmError(
            f"the result of {name} cannot be written as JSON ({printable(str(error))}); return numbers other than NaN "
            "and infinity, texts, lists, dicts with texts as keys, or None"
        ) from error


async def _awaited(name: str, result: Awaitable[object]) -> bytes | None:
    return write(name, await result)


def _plain(value: object) -> object:
    if callable(tolist := getattr(value, "tolist", None)):
        plain: object = tolist()
        return plain
    raise TypeError(f"it has a value of type {type(value).__qualname__}")


# -- errors in a line


def _told(error: BaseException) -> str:
    """Return type, text and place of an exception, in one line."""
    text = str(error).strip().partition("\n")[0]
    told = f"{type(error).__name__}: {printable(text)}" if text else type(error).__name__
    place = None if isinstance(error, SyntaxError) else _place(error.__traceback__)
    return f"{told} ({place})" if place else told


def _place(traceback: TracebackType | None) -> str | None:
    """Return file and line of the innermost frame that is neither ours nor the import system's."""
    place = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith("<frozen ") and file not in {__file__, importlib.__file__}:
            place = f"{file}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
