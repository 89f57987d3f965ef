"""From a name to a plug-in object.

Names come, in this order, from INI files in the home directory, from the table below, from INI files in the current
directory, and from the entry points of installed packages. So whoever unpacks a file into the current directory
changes neither `default` nor a name that the user chose. The first that has the name counts, also when it is broken:
falling back to another definition of the name would run something that nobody asked for.

Only the class of the name that was asked for is imported. The built-in ones come through the same door as strangers:
the core knows them as text. Installed packages are scanned last, and only for a name that is found nowhere else,
because that takes 30 ms.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any

from pytaskfarmer.errors import DefinitionError, FarmError, UnknownName
from pytaskfarmer.plugins.contracts import Handler, Runner
from pytaskfarmer.plugins.definitions import Definition, Distrust, Entry, Findings, Refusal, Unreadable, distrust, find
from pytaskfarmer.task import printable

BUILT_IN = {
    "runner": {
        "default": "pytaskfarmer.runners.shell.Shell",
        "shell": "pytaskfarmer.runners.shell.Shell",
    },
    "handler": {
        "default": "pytaskfarmer.handlers.lines.Lines",
        "lines": "pytaskfarmer.handlers.lines.Lines",
    },
}
ALIASES = {
    "taskfarmer.runners.BasicRunner": "pytaskfarmer.runners.shell.Shell",
    "taskfarmer.task.ListTaskList": "pytaskfarmer.handlers.lines.Lines",
}
ENTRY_POINTS = {"runner": "pytaskfarmer.runners", "handler": "pytaskfarmer.handlers"}

_METHODS = {"runner": "command", "handler": "tasks"}
_PREDECESSOR = "taskfarmer"
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Registry:
    """All names but those of installed packages. Where entries share kind and name, the first counts."""

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...] = ()

    @classmethod
    def read(cls, home: str | None = None, cwd: str | None = None, distrust: Distrust = distrust) -> "Registry":
        """Read the definitions of the user's home directory and of the current one. Never raises.

        `distrust` is asked about each file, as `definitions.distrust` is.
        """
        above = find(_home_directories(os.path.expanduser("~") if home is None else home), distrust)
        below = find(["" if cwd is None else cwd], distrust)
        return cls((*above.entries, *_built_in(), *below.entries), (*above.unreadable, *below.unreadable))

    def runner(self, name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Runner:
        """Return a new runner of that name; `options` come before those of its definition.

        Raises `UnknownName` or, for a name whose definition or class is at fault, `DefinitionError`.
        """
        runner: Runner = _load(self.definition("runner", name), options)
        return runner

    def handler(self, name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Handler:
        """Return a new handler of that name; otherwise like `runner`."""
        handler: Handler = _load(self.definition("handler", name), options)
        return handler

    def definition(self, kind: str, name: str) -> Definition:
        """Return the definition that counts; imports nothing but, for a name found nowhere, the scanner."""
        installed = Findings()
        candidates = self._candidates(kind, name)
        if not candidates:
            installed = _installed(kind)
            candidates = [entry for entry in installed.entries if entry.name == name]
        match candidates:
            case [Definition() as definition, *_]:
                return definition
            case [Refusal() as refusal, *_]:
                raise DefinitionError(refusal.where, refusal.message)
        known = _usable(kind, (*self.entries, *installed.entries))
        unknown = UnknownName(kind, name, {definition.name for definition in known})
        if blind := (*self.unreadable, *installed.unreadable):
            raise DefinitionError(blind[0].where, f"{blind[0].message}, and elsewhere {unknown}")
        raise unknown

    def known(self, kind: str) -> tuple[Definition, ...]:
        """Return every usable definition that counts, those of installed packages last."""
        return _usable(kind, (*self.entries, *_installed(kind).entries))

    def notes(self, kind: str, name: str) -> tuple[str, ...]:
        """Return a line for each definition of the name that does not count and differs from the one that does."""
        candidates = self._candidates(kind, name)
        return tuple(
            f"{other.where}: this {kind} {name!r} is not used, since {candidates[0].where} comes first; "
            "give it another name to use it"
            for other in candidates[1:]
            if not _same(candidates[0], other)
        )

    def _candidates(self, kind: str, name: str) -> list[Entry]:
        return [entry for entry in self.entries if (entry.kind, entry.name) == (kind, name)]


def _home_directories(home: str) -> list[str]:
    if not os.path.isabs(home):  # "~" of a user without a home directory: that would be found below the current one
        return []
    return [os.path.join(home, ".pytaskfarmer", name) for name in ("runners.d", "tasklists.d")]


def _built_in() -> list[Definition]:
    return [
        Definition(kind, name, target, {}, "pytaskfarmer itself", 0)
        for kind, table in BUILT_IN.items()
        for name, target in table.items()
    ]


def _installed(kind: str) -> Findings:
    """Return what installed packages declare. A package with broken metadata hides all others, which is then said."""
    from importlib.metadata import entry_points

    group = ENTRY_POINTS[kind]
    try:
        points = [(point.name, point.value.partition("[")[0].strip()) for point in entry_points(group=group)]
    except Exception as error:
        return Findings(unreadable=(Unreadable("installed packages", f"cannot be listed ({_told(error)})"),))
    return Findings(tuple(Definition(kind, name, value, {}, f"entry point {value}", 0) for name, value in points))


def _usable(kind: str, entries: Iterable[Entry]) -> tuple[Definition, ...]:
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == kind:
            first.setdefault(entry.name, entry)
    return tuple(entry for entry in first.values() if isinstance(entry, Definition))


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, Definition) and isinstance(other, Definition):
        return (one.target, one.options) == (other.target, other.options)
    return one == other


def _load(definition: Definition, options: Mapping[str, str]) -> Any:
    factory = _imported(definition)
    options = {**definition.options, **options}
    if isinstance(factory, type):
        _check(definition, factory)  # before its constructor asks for what another contract would give it
    try:
        plugin = factory(**options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _fault(definition, _constructor_fault(factory, options, error)) from error
    _check(definition, plugin)
    return plugin


def _imported(definition: Definition) -> Callable[..., object]:
    target = ALIASES.get(definition.target, definition.target)
    module_name, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    if not module_name or not name:
        raise _fault(definition, f"{target!r} is not of the form module.Class")
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _fault(definition, _import_fault(target, module_name, error)) from error
    factory: object = module
    for attribute in name.split("."):
        factory = getattr(factory, attribute, None)
    if not callable(factory):
        raise _fault(definition, f"module {module_name!r} ({module.__file__}) has no class {name!r}; correct the name")
    return factory


def _import_fault(target: str, module_name: str, error: BaseException) -> str:
    if isinstance(error, ImportError) and error.name:
        if _is_predecessor(error.name):
            return _written_for_predecessor(target)
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            return (
                f"there is no module {error.name!r} on Python's import path, and no other place is looked at, not even "
                "the directory of this file or of the task list; install it, or add its directory to PYTHONPATH"
            )
    return f"importing {module_name!r} failed with {_told(error)}; `python3 -c 'import {module_name}'` shows more"


def _constructor_fault(factory: Callable[..., object], options: Mapping[str, str], error: BaseException) -> str:
    if isinstance(error, TypeError) and (mismatch := _mismatch(factory, options)):
        return mismatch
    if isinstance(error, ValueError | FarmError) and str(error):
        return _first_line(error)
    return f"its constructor failed with {_told(error)}"


def _mismatch(factory: Callable[..., object], options: Mapping[str, str]) -> str | None:
    """Return in which way `factory` does not take just these options, if that is so."""
    import inspect

    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    named = [p for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    accepted = [p.name for p in named]
    takes = f"its options are: {', '.join(accepted)}" if accepted else "it takes none"
    unknown = [name for name in options if name not in accepted]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return f"there is no option {unknown[0]!r}; {takes}"
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    return f"the option {missing[0]!r} is missing; {takes}" if missing else None


def _check(definition: Definition, plugin: object) -> None:
    method = _METHODS[definition.kind]
    if callable(getattr(plugin, method, None)):
        return
    of = plugin if isinstance(plugin, type) else type(plugin)
    if any(_is_predecessor(base.__module__) for base in of.__mro__):
        raise _fault(definition, _written_for_predecessor(definition.target))
    raise _fault(definition, f"{definition.target} is no {definition.kind}, since it has no method {method!r}; add it")


def _is_predecessor(module_name: str) -> bool:
    return module_name.partition(".")[0] == _PREDECESSOR


def _written_for_predecessor(target: str) -> str:
    return (
        f"{target} was written for PyTaskFarmer 0.1.0's own base classes (package {_PREDECESSOR!r}), which this "
        "version does not have; the manual describes the contract of a plug-in"
    )


def _fault(definition: Definition, message: str) -> DefinitionError:
    return DefinitionError(definition.where, f"{definition.kind} {definition.name!r}: {message}")


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
        if not file.startswith("<frozen ") and file not in {__file__, importlib.__file__}:
            place = f"{file}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
