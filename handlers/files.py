"""One task for each file.

Patterns are matched here and not by `glob`, which takes a directory that cannot be read for an empty one, follows links
in circles, and asks the file system about every file that it found. Names are compared as bytes.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import decode, encode, printable

from . import rows
from .fields import Fields
from .naming import no_option
from .rows import Row

_NAMES = ("file", "name", "stem", "dir", "index")
_MAGIC = re.compile(rb"[*?[]")
_OF_A_SHELL = re.compile(r"^~|[${}]")
_BRACKETS = re.compile(r"\[([!^]?+)(\]?+[^\]]*\])")


class Files:
    """A command with a `{file}` field, once for each file that matches the patterns in the list, one a line.

    Fields of the command:

    - `{file}`: the path, relative if the pattern is.
    - `{name}`: its last part.
    - `{stem}`: that without its last suffix.
    - `{dir}`: the directory.
    - `{index}`: a number for each file, from 0.

    Values are quoted for the shell, except as `{file:raw}`.

    Options:

    - `command`: what each task runs, such as `gzip {file}`.

    A pattern has `*`, `?` and `[...]` as in a shell, and `**` for any number of directories (links to directories are
    not followed there). It starts in the directory in which the command is typed. Its files come in the order of their
    bytes; directories are no files, and a file that matches twice is one task. A pattern that matches nothing is an
    error. Memory: the paths of all files.

    Files are looked for when a work directory begins. Those that come later are not seen; give them a work directory.
    """

    def __init__(self, *, command: str) -> None:
        self._fields = Fields(command)
        unknown = [name for name in self._fields.names if name not in _NAMES]
        if unknown:
            there = ", ".join(f"{{{name}}}" for name in _NAMES)
            told = f"the command has a field {{{unknown[0]}}}; those of this handler are {there}"
            raise ValueError(f"{told} (and {{{{{unknown[0]}}}}} is no field)")
        if not self._fields.names:
            raise ValueError("the command has no field, so all tasks would be the same; write {file} for the file")

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the command of each file. Raises `TasklistError` for a pattern without files."""
        seen: set[bytes] = set()
        for line, pattern in rows.lines(tasklist):
            try:
                found = sorted(matches(encode(pattern)))
            except OSError as error:
                where = printable(os.fsdecode(error.filename or b"."))
                raise TasklistError(tasklist.path, line, f"cannot list {where} ({error.strerror}).") from None
            if not found:
                remedy = "correct the pattern, or remove the line"
                if _OF_A_SHELL.search(pattern):
                    remedy = "~, $ and {} stand for themselves here, so write the paths out"
                told = f"no file matches {pattern!r} in {os.getcwd()}; {remedy}."
                raise TasklistError(tasklist.path, line, told)
            for path in found:
                if path not in seen:
                    values = _values(decode(path), len(seen))
                    seen.add(path)
                    yield rows.text_of(self._fields, Row(line, values), tasklist.path)


def matches(pattern: bytes) -> Iterator[bytes]:
    """Yield the files that match, in no order, some perhaps twice. Raises `OSError` for an unreadable directory."""
    root = b"/" if pattern.startswith(b"/") else b""
    parts = [part for part in pattern.split(b"/") if part not in {b"", b"."}]
    return _below(root, parts) if parts and not pattern.endswith(b"/") else iter(())


def _below(directory: bytes, parts: Sequence[bytes]) -> Iterator[bytes]:
    part, rest = parts[0], parts[1:]
    if part == b"**":
        yield from _below_any(directory, rest or [b"*"])
    elif not _MAGIC.search(part):
        path = os.path.join(directory, part)
        if rest:
            yield from _below(path, rest)
        elif os.path.isfile(path):
            yield path
    else:
        for entry in _entries(directory, part):
            if rest and _leads_to(entry.is_dir):
                yield from _below(os.path.join(directory, entry.name), rest)
            elif not rest and _leads_to(entry.is_file):
                yield os.path.join(directory, entry.name)


def _below_any(directory: bytes, parts: Sequence[bytes]) -> Iterator[bytes]:
    yield from _below(directory, parts)
    for entry in _entries(directory, b"*"):
        if entry.is_dir(follow_symlinks=False):
            yield from _below_any(os.path.join(directory, entry.name), parts)


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of this kind; a link that leads in a circle is of none."""
    try:
        return kind()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _entries(directory: bytes, part: bytes) -> "Iterator[os.DirEntry[bytes]]":
    """Yield what matches in a directory, of hidden entries only those asked for; nothing if it is none."""
    fits = re.compile(translate(_BRACKETS.sub(_negated, os.fsdecode(part)))).match
    try:
        entries = os.scandir(directory or b".")
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            hidden = entry.name.startswith(b".") and not part.startswith(b".")
            if not hidden and fits(os.fsdecode(entry.name)):
                yield entry


def _negated(brackets: re.Match[str]) -> str:
    """Return `[^...]`, which a shell takes for `[!...]`, as that, since Python would not."""
    return f"[!{brackets[2]}" if brackets[1] else brackets[0]


def _values(path: str, index: int) -> dict[str, str]:
    directory, name = os.path.split(path)
    return {
        "file": no_option(path),
        "name": name,
        "stem": os.path.splitext(name)[0],
        "dir": no_option(directory or "."),
        "index": str(index),
    }
