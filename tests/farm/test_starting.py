"""How attempts start, whatever the node says to that."""

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest

from pytaskfarmer.farm import process
from pytaskfarmer.farm.place import Place
from pytaskfarmer.farm.starting import CannotStart, how
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task


class Counting:
    """A runner that counts how often it is asked, as one that makes a directory for each command would."""

    def __init__(self) -> None:
        self.asked = 0

    def command(self, task: Task, context: TaskContext) -> Command:
        """Count."""
        self.asked += 1
        return Command(("true",))


class Giving:
    """A runner that gives what it was given."""

    def __init__(self, command: Any) -> None:
        self._command = command

    def command(self, task: Task, context: TaskContext) -> Command:
        """Give it."""
        given: Command = self._command
        return given


class Real:
    """Slots that begin to start what they are told to."""

    def start(self, place: Place, command: Command, environment: Any, output: int) -> None:
        """Start it, and close the log."""
        try:
            process.start(command, environment, output)
        finally:
            os.close(output)


class Full:
    """Slots of a node that is full `times` times."""

    def __init__(self, times: int) -> None:
        self._left = times
        self.started: list[Command] = []

    def start(self, place: Place, command: Command, environment: Any, output: int) -> None:
        """Raise, or take note."""
        if self._left:
            self._left -= 1
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.started.append(command)


def test_a_full_node_costs_one_command() -> None:
    """What was to be started on a node that is full is kept, and started later: its runner is asked once an attempt."""
    runner, slots, context = Counting(), Full(3), TaskContext(0, 1, "/", {})
    start: Any = how(runner)
    place = Place(Task(0, "true"), 1, 0)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            start(slots, place, context, -1)
    for again in (place, place._replace(attempt=2)):
        start(slots, again, context, -1)
    assert (2, 2) == (runner.asked, len(slots.started))


@pytest.mark.parametrize(
    "given",
    [None, Command(()), Command({"true": 1}), Command(("/no/such",), fallback=Command(())), SimpleNamespace(argv="a")],
    ids=["nothing", "no words", "a dictionary", "no words to fall back on", "another class"],
)
def test_what_is_no_command_is_its_own_tasks_fault(given: Any) -> None:
    """Whatever a runner returns in place of a command, the attempt cannot start, and the farmer goes on."""
    start: Any = how(Giving(given))
    log = os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(CannotStart) as caught:
        start(Real(), Place(Task(0, "true"), 1, 0), TaskContext(0, 1, "/", {}), log)
    assert caught.value.command is None or caught.value.command.finish is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log)


class Failing:
    """A runner that meets an error of the system; `worker` makes it one of workers."""

    concurrency, max_tasks = 1, None

    def __init__(self, number: int, *, worker: bool) -> None:
        self._number = number
        if worker:
            self.worker = self.command

    def command(self, task: Task, context: TaskContext) -> Command:
        """Meet it."""
        raise OSError(self._number, os.strerror(self._number))

    request = command


@pytest.mark.parametrize("worker", [False, True], ids=["a process", "a worker"])
@pytest.mark.parametrize(
    ("number", "raised"),
    [(errno.ENOSPC, OSError), (errno.EDQUOT, OSError), (errno.ENOENT, CannotStart)],
    ids=["no room", "quota", "no file"],
)
def test_a_disk_without_room_is_not_the_tasks_fault(number: int, raised: type[Exception], worker: bool) -> None:
    """What a runner cannot do for lack of room may be tried again; any other error is why the attempt cannot start."""
    start: Any = how(Failing(number, worker=worker))
    log = os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(raised):
        start(Real(), Place(Task(0, "true"), 1, 0), TaskContext(0, 1, "/", {}), log)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log)
