"""How a farmer starts an attempt: as a process of its own, or as a call of a warm worker. The runner decides."""

import os
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from pytaskfarmer.errors import FarmError
from pytaskfarmer.farm import process
from pytaskfarmer.farm.place import Place
from pytaskfarmer.farm.slots import Slots
from pytaskfarmer.plugins.contracts import Command, Runner, TaskContext, WorkerRunner
from pytaskfarmer.task import Task

_Answer = TypeVar("_Answer")


class CannotStart(Exception):
    """An attempt cannot start, for a reason that is its own. `command` is what was to be started, if it got so far."""

    def __init__(self, reason: Exception, command: Command | None = None) -> None:
        super().__init__(str(reason))
        self.reason, self.command = reason, command


class Start(Protocol):
    """Starts an attempt in a reserved slot, and closes `output`, its log, in any case.

    Raises `CannotStart`; OSError for a reason that is not the task's; `workers.Unfit`.
    """

    def __call__(self, slots: Slots, place: Place, context: TaskContext, output: int) -> None:
        """Start it."""
        ...


def how(runner: Runner | WorkerRunner) -> Start:
    """Return how to start what `runner` says."""
    if isinstance(runner, WorkerRunner):
        return partial(_call, runner)
    return partial(_start, runner, {})


def _start(
    runner: Runner, put_off: dict[Place, Command], slots: Slots, place: Place, context: TaskContext, output: int
) -> None:
    """Start a process; where the node is full, its command is kept for the next try, and may have made a directory."""
    try:
        command = put_off.pop(place, None) or _command(runner.command, place.task, context)
    except FarmError as error:
        raise _never_started(error, output) from error
    except OSError:
        os.close(output)
        raise
    try:
        slots.start(place, command, context.environment, output)
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        if isinstance(error, OSError) and error.errno in process.NODE_IS_FULL:
            put_off[place] = command
            raise
        raise CannotStart(error, command) from error


def _call(runner: WorkerRunner, slots: Slots, place: Place, context: TaskContext, output: int) -> None:
    try:
        request = _asked(runner.request, place.task, context)
    except FarmError as error:
        raise _never_started(error, output) from error
    except OSError:
        os.close(output)
        raise
    try:
        slots.call(place, request, lambda: _command(runner.worker, context), context.environment, output)
    except (ValueError, TypeError) as error:
        raise CannotStart(error) from error


def _never_started(error: FarmError, output: int) -> CannotStart:
    os.close(output)
    return CannotStart(error)


def _command(method: Callable[..., Command], *arguments: Task | TaskContext) -> Command:
    command: object = _asked(method, *arguments)
    if not (isinstance(command, Command) and command.argv):
        raise FarmError(f"the runner returned {command!r}, which is no command")
    return command


def _asked(method: Callable[..., _Answer], *arguments: Task | TaskContext) -> _Answer:
    try:
        return method(*arguments)
    except FarmError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in process.NODE_IS_FULL:
            raise
        raise FarmError(f"the runner failed: {type(error).__name__}: {error}") from error
