"""INI files, and options of the command line, as frozen definitions of runners and handlers.

A section with the key `Runner` or `TaskList` defines a name; the value names a class, all other keys are its options.
People keep such files beside files that have nothing to do with us, and in directories that others can write to.
Hence two rules: a file does harm to nobody but those who ask for a name in it, and reading it imports nothing.

A file that cannot be parsed still has `[name]` headers. Those names, and no others, are refused with the file, the
line and the remedy. The same happens to the names of a file that is not to be trusted (`trust`). What is broken
may be a header, and the key that decides may be misspelt: who asks for a name that is found nowhere, and nobody else,
is told of such files and sections.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytaskfarmer.plugins.trust import Distrust, distrust
from pytaskfarmer.task import printable

if TYPE_CHECKING:
    import configparser

KEYS = {"runner": "Runner", "handler": "TaskList"}
FLAGS = {"runner": "-R", "handler": "-T"}
CHOOSERS = {"runner": "-r", "handler": "-t"}

_NEITHER = "is neither [name] nor key = value; correct it, or put # before it"
_LARGEST = 1 << 20
_HEADER = re.compile(r"\s*\[(.+)\]")
_KEY = re.compile(rf"\s*({'|'.join(KEYS.values())})\b")


@dataclass(frozen=True, slots=True)
class Definition:
    """A name for a class with options; `kind` is "runner" or "handler".

    `target` is the class, as `module.Class` or `module:Class`, or a built-in name. `line` counts from 1; it is 0 where
    `file` is not a file but says who defines the name. An `installed` one comes with installed code. `given` are the
    options of the command line, which come before the `written` ones.
    """

    kind: str
    name: str
    target: str
    written: Mapping[str, str]
    file: str
    line: int
    installed: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        """The options that count."""
        return {**self.written, **self.given}

    @property
    def where(self) -> str:
        """The place of the definition, in the words of an error message."""
        return _place(self.file, self.line)

    def where_to_mend(self, option: str | None = None) -> str:
        """Return the place where `option`, or something about all of them, is to be put right."""
        flag = FLAGS[self.kind]
        if option is not None and option in self.given:
            return printable(f"{flag} {option}={self.given[option]}", 60)
        if self.installed:
            return flag
        return f"{self.where}, with {flag}" if self.given and option is None else self.where

    def with_options(self, given: Mapping[str, str]) -> "Definition":
        """Return this definition with options of the command line."""
        return replace(self, given=given) if given else self


@dataclass(frozen=True, slots=True)
class Refusal:
    """A name that a file defines in vain; `message` says why, and what to do."""

    kind: str
    name: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or directory of which not even the names are known."""

    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """A section that defines nothing, as others' files have them, or one whose deciding key is misspelt."""

    name: str
    where: str
    keys: tuple[str, ...]

    def message(self, kind: str) -> str:
        """Say to whoever takes it for a definition of that kind what it lacks, and what to do."""
        right = {key.lower(): key for key in KEYS.values()}
        near = (difflib.get_close_matches(key.lower(), right, n=1, cutoff=0.75) for key in self.keys)
        meant = [right[match] for matches in near for match in matches]
        hint = f"did you mean {meant[0]}?" if meant else _how_to_name(kind)
        return f"[{self.name}] has neither {' nor '.join(KEYS.values())}; {hint}"


Entry = Definition | Refusal


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found. Where several entries have the same kind and name, the first counts.

    Files that are `broken` may define more names than are among the entries.
    """

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    broken: tuple[Unreadable, ...] = ()
    undecided: tuple[Undecided, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            self.entries + other.entries, self.unreadable + other.unreadable, self.broken + other.broken,
            self.undecided + other.undecided,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    line: int
    kinds: list[str]


def find(directories: Iterable[str], distrust: Distrust = distrust) -> Findings:
    """Return what the `*.ini` files of `directories` define: in the order given, then by file name, then by line.

    "" is the current directory, and its files are named without a directory. Never raises: what cannot be read is
    among the findings.
    """
    found = Findings()
    for directory in directories:
        try:
            files = _ini_files(directory)
        except OSError as error:
            found += Findings(unreadable=(Unreadable(directory or ".", f"cannot be listed ({error.strerror})"),))
            continue
        for file in files:
            try:
                found += _read(file, distrust)
            except OSError as error:
                found += Findings(unreadable=(Unreadable(file, f"cannot be read ({error.strerror})"),))
    return found


def parse(text: str, file: str) -> Findings:
    """Return what the INI file `file` with the contents `text` defines. Never raises."""
    import configparser

    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return _break(text, file, *_fault(error))
    lines = {section.name: section.line for section in reversed(_outline(text))}
    entries: list[Entry] = []
    undecided: list[Undecided] = []
    for header in parser.sections():
        name, options = header.strip(), dict(parser.items(header))
        line = lines.get(name, 0)
        if options.keys() & set(KEYS.values()):
            entries += _define(name, options, file, line)
        else:
            undecided.append(Undecided(name, _place(file, line), tuple(options)))
    return Findings(tuple(entries), undecided=tuple(undecided))


def _define(name: str, options: dict[str, str], file: str, line: int) -> Iterator[Entry]:
    targets = {kind: options.pop(key) for kind, key in KEYS.items() if key in options}
    for kind, target in targets.items():
        if target:
            yield Definition(kind, name, target, options, file, line)
        else:
            message = f"{KEYS[kind]} names no class; {_how_to_name(kind)}"
            yield Refusal(kind, name, _place(file, line), message)


def _how_to_name(kind: str) -> str:
    return f"write: {KEYS[kind]} = module.Class, or the name of a built-in {kind}"


def _fault(error: "configparser.Error") -> tuple[int, str]:
    """Return the line at fault, and what to do there, in our words: those of `error` take several lines."""
    import configparser

    match error:
        case configparser.DuplicateSectionError():
            return error.lineno or 0, f"the section [{error.section}] is there twice in this file; rename one"
        case configparser.DuplicateOptionError():
            return error.lineno or 0, f"the key {error.option!r} is there twice in [{error.section}]; remove one"
        case configparser.MissingSectionHeaderError() if error.line.lstrip().startswith("["):
            return error.lineno, _NEITHER
        case configparser.MissingSectionHeaderError():
            return error.lineno, "stands before the first [name]; put a [name] above it, or # before it"
        case configparser.ParsingError(errors=[(int(line), _), *_]):
            return line, _NEITHER
        case _:
            return 0, f"not an INI file ({type(error).__name__})"


def _break(text: str, file: str, line: int, message: str) -> Findings:
    """Return what a broken file comes to: its names are refused, and there may be others."""
    broken = Unreadable(_place(file, line), message)
    return Findings(_refuse(text, file, line, message), broken=(broken,))


def _refuse(text: str, file: str, line: int, message: str) -> tuple[Refusal, ...]:
    """Return a refusal of each name that `text` seems to define; one without a kind might have been either."""
    return tuple(
        Refusal(kind, section.name, _place(file, line), message)
        for section in _outline(text)
        for kind in section.kinds or KEYS
    )


def _outline(text: str) -> list[_Section]:
    """Return the sections of `text`, be it an INI file or not."""
    kinds = {key: kind for kind, key in KEYS.items()}
    sections: list[_Section] = []
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            sections.append(_Section(header[1].strip(), number, []))
        elif sections and (key := _KEY.match(line)):
            sections[-1].kinds.append(kinds[key[1]])
    return sections


def _read(file: str, distrust: Distrust) -> Findings:
    with open(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        data = stream.read(_LARGEST + 1)
    anyhow = data.decode("utf-8-sig", "replace")
    if reason := distrust(file, os.lstat(file)) or distrust(file, status):
        return Findings(_refuse(anyhow, file, 0, reason))
    if len(data) > _LARGEST:
        return _break(anyhow, file, 0, f"larger than {_LARGEST} bytes; put the definitions into a file of their own")
    try:
        return parse(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        return _break(anyhow, file, line, "not UTF-8; save the file as UTF-8")


def _ini_files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory or ".") if name.endswith(".ini") and name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for name in names if os.path.isfile(path := os.path.join(directory, name))]


def _place(file: str, line: int) -> str:
    return f"{file}, line {line}" if line else file
