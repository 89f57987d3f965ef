"""What goes wrong, in words a user can act on.

Every error that a user can cause is a `FarmError`: its text is one line that says where, what, and what to do
now. The command prints it and exits with 2. All of them survive pickling, since they cross process borders.
"""

import difflib
from collections.abc import Iterable


class FarmError(Exception):
    """Base of every error that a user can act on."""


class UsageError(FarmError, ValueError):
    """The command line, or an option's value, cannot be obeyed."""


class TasklistError(FarmError, ValueError):
    """The task list cannot be read, or does not match the work directory.

    `path` is the file; `line` counts from 1, or is None where no single line is at fault.
    """

    def __init__(self, path: str, line: int | None, message: str) -> None:
        super().__init__(path, line, message)
        self.path, self.line, self.message = path, line, message

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}, line {self.line}"
        return f"{where}: {self.message}"


class DefinitionError(FarmError, ValueError):
    """A runner or handler definition (INI file, option, class) is unusable; `where` is a file and line."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)
        self.where, self.message = where, message

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class UnknownName(FarmError, LookupError):
    """No runner or handler of that name; the text lists the known ones and the closest, or gives another `hint`.

    `unread` are the files that may define it, each with what is wrong there.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "", unread: Iterable[str] = ()) -> None:
        known, unread = tuple(sorted(known)), tuple(unread)
        super().__init__(kind, name, known, hint, unread)
        self.kind, self.name, self.known, self.hint, self.unread = kind, name, known, hint, unread

    def __str__(self) -> str:
        close = difflib.get_close_matches(self.name, self.known, n=1)
        hint = self.hint or (f"Did you mean {close[0]!r}?" if close else "")
        more = f"; and {len(self.unread) - 3} more" if len(self.unread) > 3 else ""
        unread = f" Could not be read: {'; '.join(self.unread[:3])}{more}." if self.unread else ""
        return (
            f"there is no {self.kind} named {self.name!r}.{' ' if hint else ''}{hint} Known: {', '.join(self.known)}."
            f"{unread}"
        )


class WorkdirError(FarmError):
    """The work directory cannot be used as it is."""


class LockError(WorkdirError):
    """The file system's locks do not do what the books need."""


class IllegalMove(FarmError, RuntimeError):
    """A task was asked to go where it cannot go: a bug, reported with the task's history."""
