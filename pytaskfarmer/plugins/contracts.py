"""What a plug-in is: two Protocols, and the frozen objects they receive and return.

A plug-in is a class. Its constructor takes the options of its definition (the remaining keys of an INI section, as
strings) as keyword arguments and raises `ValueError` with one line for a value it cannot use.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pytaskfarmer.task import Task


@dataclass(frozen=True, slots=True)
class Tasklist:
    """What a handler reads: the list's path, and the absolute path of the work directory.

    A list that is `growing` may be in the middle of being written: what has no line end yet is no task yet.
    """

    path: str
    workdir: str
    growing: bool = False


class Handler(Protocol):
    """Reads a task list."""

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the text of each task, in order, without a newline in it.

        Streams: never holds the list in memory. Deterministic: the same input yields the same texts, since a
        task's id is its place in this stream. Raises `TasklistError` for input it cannot use.
        """
        ...


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Where and how one attempt runs.

    `slot` counts from 0, `attempt` from 1; `workdir` is absolute; `environment` is all that the task's process will
    see unless the command adds to it.
    """

    slot: int
    attempt: int
    workdir: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start.

    `program` is the path of the file to execute, when it is not to be looked up on PATH as `argv[0]`.
    `environment` is added to the context's, and a variable for which it says None is taken away. `cwd` None means the
    farmer's. `fallback` is started instead where the kernel refuses to start this one.
    """

    argv: tuple[str, ...]
    program: str | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    cwd: str | None = None
    fallback: "Command | None" = None


class Runner(Protocol):
    """Turns a task into what a slot does: here, a process for each task."""

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the process that runs `task`."""
        ...
