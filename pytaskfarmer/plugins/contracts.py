"""What a plug-in is: two Protocols, and the frozen objects they receive and return.

A plug-in is a class. Its constructor takes the options of its definition (the remaining keys of an INI section) as
keyword arguments. A text is converted to what the parameter is annotated with (`bool`, `int`, `float`, `str`, or
`tuple[str, ...]` for words separated by blanks); for a value that it cannot use, the constructor raises `ValueError`
with one line.

A runner is one of two kinds. A `Runner` names a process for each task. A `WorkerRunner` names a process that stays in
its slot and is handed task after task. Either may have a method `close()`, which is called once, when the farmer ends.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

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
    """Reads a task list.

    What must be there before tasks run is the part of a method `prepare(tasklist)`, if there is one: each farmer calls
    it once the work directory is there, and nobody who only looks.
    """

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

    `finish` is called with the exit status, or minus the signal's number, when the process and its group are gone,
    however they ended, and also where nothing could be started (127 or 126). It may return the process that tidies up:
    that one runs before the slot is free, and prints to the task's log. A task that had succeeded has failed if
    tidying up after it fails.
    """

    argv: tuple[str, ...]
    program: str | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    cwd: str | None = None
    fallback: "Command | None" = None
    finish: "Callable[[int], Command | None] | None" = None


class Runner(Protocol):
    """Turns a task into what a slot does: here, a process for each task."""

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the process that runs `task`.

        An OSError for lack of room (such as ENOSPC) puts the attempt off; whatever else is raised makes it fail.
        """
        ...


@runtime_checkable
class WorkerRunner(Protocol):
    """Turns a task into what a slot does: here, a request to a process that stays and is handed task after task.

    `concurrency` is how many tasks one process may hold at a time; `max_tasks` is after how many it is replaced, None
    for never. `--proc` counts the processes.
    """

    concurrency: int
    max_tasks: int | None

    def worker(self, context: TaskContext) -> Command:
        """Return the process, which speaks the protocol of `pytaskfarmer.worker` (see `worker.command` there).

        `context` is that of the first task it will be handed.
        """
        ...

    def request(self, task: Task, context: TaskContext) -> bytes:
        """Return what the process is told about `task`, beside its id, attempt and slot."""
        ...
