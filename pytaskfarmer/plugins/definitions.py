"""INI files as frozen definitions of runners and handlers.

A section with the key `Runner` or `TaskList` defines a name; the value names a class, all other keys are its options.
People keep such files beside files that have nothing to do with us, and in directories that others can write to.
Hence two rules: a file does harm to nobody but those who ask for a name in it, and reading it imports nothing.

A file that cannot be parsed still has `[name]` headers. Those names, and no others, are refused with the file, the
line and the remedy. The same happens to the names of a file that somebody else can write to, since a definition
makes us import code: it must belong to the user or root, and be writable by its owner only, or by a group that is
the owner's alone (where the umask is 002, every file looks like that).

Owner and mode are those of the open file, so nobody can swap it in between. The directory is not looked at: whoever
can write there can add files and links of their own, which the rule refuses, or rename files that the user wrote.
Where it still fails: access that mode bits do not show, such as the access lists of NFSv4, and hard links to a file
of the user's with somebody else's contents (Linux forbids those unless fs.protected_hardlinks is off).
"""

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import configparser

KEYS = {"runner": "Runner", "handler": "TaskList"}

_LARGEST = 1 << 20
_HEADER = re.compile(r"\s*\[(.+)\]")
_KEY = re.compile(rf"\s*({'|'.join(KEYS.values())})\b")


@dataclass(frozen=True, slots=True)
class Definition:
    """A name for a class with options; `kind` is "runner" or "handler".

    `target` is the class, as `module.Class` or `module:Class`. `line` counts from 1; it is 0 where `file` is not a
    file but says who defines the name.
    """

    kind: str
    name: str
    target: str
    options: Mapping[str, str]
    file: str
    line: int

    @property
    def where(self) -> str:
        """The place of the definition, in the words of an error message."""
        return _place(self.file, self.line)


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


Entry = Definition | Refusal
Distrust = Callable[[str, os.stat_result], str | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found. Where several entries have the same kind and name, the first counts."""

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    line: int
    kinds: list[str]


def distrust(path: str, status: os.stat_result, owners: Collection[int] = ()) -> str | None:
    """Return why the file or link at `path` is not to be obeyed, and what to do; None if it is.

    `owners` are the ids of users who are trusted besides root and the user.
    """
    if status.st_uid not in {os.geteuid(), 0, *owners}:
        return f"not trusted, since it belongs to another user (uid {status.st_uid}); use a copy of your own"
    if stat.S_ISLNK(status.st_mode):  # its mode means nothing
        return None
    if status.st_mode & 0o002 or (status.st_mode & 0o020 and not _is_private(status.st_gid, status.st_uid)):
        return f"not trusted, since others can write to it; if its contents are yours: chmod go-w {_quoted(path)}"
    return None


def find(directories: Iterable[str], distrust: Distrust = distrust) -> Findings:
    """Return what the `*.ini` files of `directories` define: in the order given, then by file name, then by line.

    "" is the current directory, and its files are named without a directory. Never raises: what cannot be read is
    among the findings.
    """
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    for directory in directories:
        try:
            files = _ini_files(directory)
        except OSError as error:
            unreadable.append(Unreadable(directory or ".", f"cannot be listed ({error.strerror})"))
            continue
        for file in files:
            try:
                entries += _read(file, distrust)
            except OSError as error:
                unreadable.append(Unreadable(file, f"cannot be read ({error.strerror})"))
    return Findings(tuple(entries), tuple(unreadable))


def parse(text: str, file: str) -> tuple[Entry, ...]:
    """Return what the INI file `file` with the contents `text` defines. Never raises."""
    import configparser

    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return _refuse(text, file, *_fault(error))
    lines = {section.name: section.line for section in reversed(_outline(text))}
    return tuple(
        entry
        for header in parser.sections()
        for entry in _define(header.strip(), dict(parser.items(header)), file, lines.get(header.strip(), 0))
    )


def _define(name: str, options: dict[str, str], file: str, line: int) -> Iterator[Entry]:
    targets = {kind: options.pop(key) for kind, key in KEYS.items() if key in options}
    for kind, target in targets.items():
        if target:
            yield Definition(kind, name, target, options, file, line)
        else:
            message = f"{KEYS[kind]} names no class; write: {KEYS[kind]} = module.Class"
            yield Refusal(kind, name, _place(file, line), message)


def _fault(error: "configparser.Error") -> tuple[int, str]:
    """Return the line at fault, and what to do there, in our words: those of `error` take several lines."""
    import configparser

    match error:
        case configparser.DuplicateSectionError():
            return error.lineno or 0, f"the section [{error.section}] is there twice in this file; rename one"
        case configparser.DuplicateOptionError():
            return error.lineno or 0, f"the key {error.option!r} is there twice in [{error.section}]; remove one"
        case configparser.MissingSectionHeaderError():
            return error.lineno, "stands before the first [name]; put a [name] above it, or # before it"
        case configparser.ParsingError(errors=[(int(line), _), *_]):
            return line, "is neither [name] nor key = value; correct it, or put # before it"
        case _:
            return 0, f"not an INI file ({type(error).__name__})"


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


def _read(file: str, distrust: Distrust) -> tuple[Entry, ...]:
    with open(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        data = stream.read(_LARGEST + 1)
    anyhow = data.decode("utf-8-sig", "replace")
    if reason := distrust(file, os.lstat(file)) or distrust(file, status):
        return _refuse(anyhow, file, 0, reason)
    if len(data) > _LARGEST:
        return _refuse(anyhow, file, 0, f"larger than {_LARGEST} bytes; put the definitions into a file of their own")
    try:
        return parse(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        return _refuse(anyhow, file, line, "not UTF-8; save the file as UTF-8")


def _ini_files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory or ".") if name.endswith(".ini") and name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for name in names if os.path.isfile(path := os.path.join(directory, name))]


def _is_private(gid: int, uid: int) -> bool:
    """Return whether the group is the one that many systems make for each user, and has no other members."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and {*group.gr_mem} <= {user.pw_name}


def _place(file: str, line: int) -> str:
    return f"{file}, line {line}" if line else file


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
