"""How attempts start, whatever the node says to that."""

import errno
import os
from typing import Any

import pytest

from pytaskfarmer.farm.place import Place
from pytaskfarmer.farm.starting import how
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
