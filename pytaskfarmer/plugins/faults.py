"""What to say when a class cannot be used as a plug-in, in one line. Imported only when something is wrong."""

import difflib
import importlib
import os
from collections.abc import Iterable, Mapping
from types import TracebackType

from pytaskfarmer.errors import FarmError
from pytaskfarmer.task import printable

_PREDECESSOR = "taskfarmer"
_PACKAGE = __name__.partition(".")[0]
_OURS = (os.path.dirname(__file__) + os.sep, importlib.__file__)


def of_target(target: str, kind: str, built_in: Iterable[str]) -> str:
    """Say that `target` cannot name a class, or a function."""
    if kind == "function":
        return f"{target!r} is not of the form module:function"
    return f"{target!r} is neither of the form module.Class nor a built-in {kind} ({', '.join(built_in)})"


def of_import(target: str, kind: str, module_name: str, error: BaseException, built_in: Mapping[str, str]) -> str:
    """Say why the module of `target` could not be imported."""
    if isinstance(error, ImportError) and error.name:
        if _is_predecessor(error.name):
            return written_for_predecessor(target)
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            absent = f"there is no module {error.name!r}"
            if error.name.startswith(f"{_PACKAGE}.") and built_in:
                return f"{absent}. {_meant(target, built_in)}Built in: {', '.join(built_in)}"
            if kind == "function":
                place = "in the current directory or on Python's import path; correct the name"
            else:
                place = (
                    "on Python's import path, and no other place is looked at, neither beside the INI file nor beside "
                    "the task list; install it"
                )
            return f"{absent} {place}, or add its directory to PYTHONPATH"
    return f"importing {module_name!r} failed with {_told(error)}; `python3 -c 'import {module_name}'` shows more"


def _meant(target: str, built_in: Mapping[str, str]) -> str:
    names = {of: name for name, of in built_in.items() if name != "default"}
    close = difflib.get_close_matches(target, names, n=1, cutoff=0.8)
    return f"Did you mean {names[close[0]]}? " if close else ""


def of_constructor(error: BaseException) -> str:
    """Say why a constructor did not make a plug-in; a ValueError is meant for the user."""
    if isinstance(error, ValueError | FarmError) and str(error):
        return _first_line(error)
    return f"its constructor failed with {_told(error)}"


def of_contract(target: str, kind: str, methods: tuple[str, ...], lacking: str) -> str:
    """Say what a class lacks that would have the `methods` of its kind."""
    if methods == ("command",):
        return f"{target} is no runner, since it has neither a method 'command' nor 'worker'; add one of them"
    if lacking in methods:
        return f"{target} is no {kind}, since it has no method {lacking!r}; add it"
    return f"{target} has a method 'worker', but no attribute {lacking!r}; set it in the constructor"


def of_metadata(error: BaseException) -> str:
    """Say why an installed package is passed by."""
    return f"its entry points cannot be read ({_told(error)}); it is passed by"


def is_for_predecessor(plugin: object) -> bool:
    """Tell whether a class, or what it made, derives from the base classes of PyTaskFarmer 0.1.0."""
    of = plugin if isinstance(plugin, type) else type(plugin)
    return any(_is_predecessor(base.__module__) for base in of.__mro__)


def written_for_predecessor(target: str) -> str:
    """Say that a class of PyTaskFarmer 0.1.0, or one made for it, has another contract."""
    return (
        f"{target} was written for PyTaskFarmer 0.1.0's own base classes (package {_PREDECESSOR!r}), which this "
        "version does not have; see the manual, 'Migrating from PyTaskFarmer'"
    )


def _is_predecessor(module_name: str) -> bool:
    return module_name.partition(".")[0] == _PREDECESSOR


def _told(error: BaseException) -> str:
    """Return type, text and place of an exception, in one line."""
    text = f"{type(error).__name__}: {_first_line(error)}" if str(error) else type(error).__name__
    place = None if isinstance(error, SyntaxError) else _raised_at(error.__traceback__)
    return f"{text} ({place})" if place else text


def _first_line(error: BaseException) -> str:
    return printable(str(error).strip().partition("\n")[0])


def _raised_at(traceback: TracebackType | None) -> str | None:
    """Return file and line of the innermost frame that is neither ours nor the import system's."""
    place = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(("<frozen ", *_OURS)):
            place = f"{file}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
