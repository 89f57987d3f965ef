"""From a name to a plug-in object.

Names come, in this order, from INI files in the home directory, from the table below, from INI files in the current
directory, and from the entry points of installed packages. So whoever unpacks a file into the current directory
changes neither `default` nor a name that the user chose. The first that has the name counts, also when it is broken:
falling back to another definition of the name would run something that nobody asked for.

Only the class of the name that was asked for is imported; to list them all, those of installed code are as well. The
built-in ones come through the same door as strangers: the core knows them as text. Installed packages are scanned
last, and only for a name that is found nowhere else, because that takes 30 ms.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytaskfarmer.errors import DefinitionError, UnknownName
from pytaskfarmer.plugins.contracts import Handler, Runner, WorkerRunner
from pytaskfarmer.plugins.definitions import (
    CHOOSERS,
    Definition,
    Entry,
    Findings,
    Refusal,
    Undecided,
    Unreadable,
    find,
)
from pytaskfarmer.plugins.installed import BUILT_IN, built_in, class_of, scan
from pytaskfarmer.plugins.trust import Distrust, distrust

if TYPE_CHECKING:
    from pytaskfarmer.plugins.options import Options

AnyRunner = Runner | WorkerRunner

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Description:
    """What the class of a definition says of itself."""

    definition: Definition
    text: str
    options: "Options"


@dataclass(frozen=True, slots=True)
class Registry:
    """All names but those of installed packages. Where entries share kind and name, the first counts."""

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...] = ()
    broken: tuple[Unreadable, ...] = ()
    undecided: tuple[Undecided, ...] = ()

    @classmethod
    def read(cls, home: str | None = None, cwd: str | None = None, distrust: Distrust = distrust) -> "Registry":
        """Read the definitions of the user's home directory and of the current one. Never raises.

        `distrust` is asked about each file, as `trust.distrust` is.
        """
        above = find(_home_directories(os.path.expanduser("~") if home is None else home), distrust)
        below = find(["" if cwd is None else cwd], distrust)
        found = above + Findings(tuple(built_in())) + below
        return cls(found.entries, found.unreadable, found.broken, found.undecided)

    def runner(self, name: str, options: Mapping[str, str] = _NO_OPTIONS) -> AnyRunner:
        """Return a new runner of that name; `options` come before those of its definition.

        Raises `UnknownName` or, for a name whose definition or class is at fault, `DefinitionError`.
        """
        return load_runner(self.definition("runner", name, options))

    def handler(self, name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Handler:
        """Return a new handler of that name; otherwise like `runner`."""
        return load_handler(self.definition("handler", name, options))

    def definition(self, kind: str, name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Definition:
        """Return the definition that counts; imports nothing but, for a name found nowhere, the scanner."""
        installed = Findings()
        candidates = self._candidates(kind, name)
        if not candidates:
            installed = scan(kind)
            candidates = [entry for entry in installed.entries if entry.name == name]
        match candidates:
            case [Definition() as definition, *_]:
                return definition.with_options(options)
            case [Refusal() as refusal, *_]:
                raise DefinitionError(refusal.where, refusal.message)
        raise self._unknown(kind, name, installed)

    def _unknown(self, kind: str, name: str, installed: Findings) -> DefinitionError | UnknownName:
        """Say that a name is found nowhere, and where it may have been meant to be."""
        for section in self.undecided:
            if section.name == name:
                return DefinitionError(section.where, section.message(kind))
        known = _first((*self.entries, *installed.entries), kind)
        others = [other for other in CHOOSERS if other != kind and self._candidates(other, name)]
        hint = f"It is a {others[0]}: {CHOOSERS[others[0]]} {name}." if others else ""
        names = {entry.name for entry in known if isinstance(entry, Definition)}
        unknown = UnknownName(kind, name, names, hint, [f"{file.where}: {file.message}" for file in self.broken])
        if blind := (*self.unreadable, *installed.unreadable):
            return DefinitionError(blind[0].where, f"{blind[0].message}, and elsewhere {unknown}")
        return unknown

    def known(self, kind: str) -> Findings:
        """Return what counts for every name of that kind, in the order of names; what it names is not imported."""
        installed = scan(kind)
        entries = sorted(_first((*self.entries, *installed.entries), kind), key=lambda entry: entry.name)
        return Findings(tuple(entries), (*self.unreadable, *installed.unreadable))

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


def load_runner(definition: Definition) -> AnyRunner:
    """Return a new runner. Raises `DefinitionError`."""
    runner: AnyRunner = _load(definition)
    return runner


def load_handler(definition: Definition) -> Handler:
    """Return a new handler. Raises `DefinitionError`."""
    handler: Handler = _load(definition)
    return handler


def function(reference: str, where: str) -> Callable[..., object]:
    """Import and return what `module:name` names. Raises `DefinitionError`, which says `where` the name comes from."""
    return _named(Definition("function", reference, reference, {}, where, 0))


def describe(definition: Definition) -> Description:
    """Import the class of a definition and return what it says of itself. Raises `DefinitionError`."""
    import inspect

    from pytaskfarmer.plugins.options import options_of

    factory = _imported(definition)
    return Description(definition, inspect.getdoc(factory) or "", options_of(factory))


def _home_directories(home: str) -> list[str]:
    if not os.path.isabs(home):  # "~" of a user without a home directory: that would be found below the current one
        return []
    return [os.path.join(home, ".pytaskfarmer", name) for name in ("runners.d", "tasklists.d")]


def _first(entries: Iterable[Entry], kind: str) -> tuple[Entry, ...]:
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == kind:
            first.setdefault(entry.name, entry)
    return tuple(first.values())


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, Definition) and isinstance(other, Definition):
        return (_class_of(one), one.options) == (_class_of(other), other.options)
    return one == other


def _load(definition: Definition) -> Any:
    factory = _imported(definition)
    values = _values(definition, factory) if definition.options else {}
    try:
        plugin = factory(**values)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from pytaskfarmer.plugins import faults

        if isinstance(error, TypeError):
            _values(definition, factory)  # which says what is missing, if that is it
        raise _fault(definition, faults.of_constructor(error), definition.where_to_mend()) from error
    _check(definition, plugin)
    return plugin


def _values(definition: Definition, factory: Callable[..., object]) -> dict[str, object]:
    from pytaskfarmer.plugins.options import OptionError, options_of

    options = options_of(factory)
    try:
        return options.read(definition.options)
    except OptionError as error:
        message = error.message
        if definition.name == "default" and error.option not in {option.name for option in options.known}:
            message += f" Another {definition.kind} is named with {CHOOSERS[definition.kind]}."
        raise _fault(definition, message, definition.where_to_mend(error.option)) from None


def _imported(definition: Definition) -> Callable[..., object]:
    factory = _named(definition)
    if isinstance(factory, type):
        _check(definition, factory)  # before its constructor asks for what another contract would give it
    return factory


def _named(definition: Definition) -> Callable[..., object]:
    target = _class_of(definition)
    module_name, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    if not module_name or not name:
        from pytaskfarmer.plugins import faults

        raise _fault(definition, faults.of_target(target, definition.kind, BUILT_IN.get(definition.kind, ())))
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from pytaskfarmer.plugins import faults

        ours = BUILT_IN.get(definition.kind, {})
        raise _fault(definition, faults.of_import(target, definition.kind, module_name, error, ours)) from error
    what = "function" if definition.kind == "function" else "class"
    factory: object = module
    for attribute in name.split("."):
        factory = getattr(factory, attribute, None)
    if not callable(factory):
        raise _fault(definition, f"module {module_name!r} ({module.__file__}) has no {what} {name!r}; correct the name")
    return factory


def _class_of(definition: Definition) -> str:
    return class_of(definition.kind, definition.target)


def _check(definition: Definition, plugin: object) -> None:
    """Refuse a class, or what it made, without the methods of its kind."""
    methods = _methods(definition.kind, plugin)
    lacking = [name for name in methods if not callable(getattr(plugin, name, None))]
    if not lacking and "worker" in methods and not isinstance(plugin, type):
        lacking = [name for name in ("concurrency", "max_tasks") if not hasattr(plugin, name)]
    if not lacking:
        _check_counts(definition, plugin)
        return
    from pytaskfarmer.plugins import faults

    target = definition.target
    if faults.is_for_predecessor(plugin):
        raise _fault(definition, faults.written_for_predecessor(target))
    raise _fault(definition, faults.of_contract(target, definition.kind, methods, lacking[0]))


def _check_counts(definition: Definition, plugin: object) -> None:
    """Refuse a runner of workers whose numbers the farmer cannot count with."""
    if definition.kind != "runner" or isinstance(plugin, type) or not callable(getattr(plugin, "worker", None)):
        return
    for name, or_none in (("concurrency", ""), ("max_tasks", ", or None")):
        number = getattr(plugin, name)
        if not (isinstance(number, int) and number >= 1) and not (or_none and number is None):
            problem = f"{name} is {number!r}; it must be a whole number above 0{or_none}"
            raise _fault(definition, f"{definition.target}: {problem}")


def _methods(kind: str, plugin: object) -> tuple[str, ...]:
    if kind == "handler":
        return ("tasks",)
    return ("worker", "request") if callable(getattr(plugin, "worker", None)) else ("command",)


def _fault(definition: Definition, message: str, where: str | None = None) -> DefinitionError:
    return DefinitionError(where or definition.where, f"{definition.kind} {definition.name!r}: {message}")
