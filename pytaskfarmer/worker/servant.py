"""What a worker runner is made of: the command that starts a worker, and the servant that works in it."""

import json
import sys
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pytaskfarmer.plugins.contracts import Command


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Which attempt at which task a request is about: `id` and `slot` count from 0, `attempt` from 1.

    What a servant writes on its `pad`, 64 bytes that are zero at first, is added to the task's result if it dies. There
    is none for a worker with several tasks in flight.
    """

    id: int
    attempt: int
    slot: int
    pad: memoryview | None = None


Answer = bytes | Iterator[bytes] | Awaitable[bytes | None] | None


class Servant(Protocol):
    """Runs tasks in a worker, one instance a worker.

    Its constructor takes the options given to `command` as keyword arguments; it is the place for what is to be paid
    once, such as imports and data. If it raises, this worker is unfit, and the farmer stops rather than let every task
    fail.
    """

    def perform(self, request: bytes, task: TaskFacts) -> Answer:
        """Run one task and return its result, if it has one: JSON text in UTF-8, or pickles.

        What a generator yields is handed over at once, piece by piece, so that a death loses only what was not yielded
        yet; the last piece it should return. Where several tasks are in flight a generator is refused: the task fails.
        A `FarmError` makes the task fail with its one line in the log, any other exception with a traceback, and
        `SystemExit` with its status.
        """
        ...


def command(servant: str, options: Mapping[str, object], python: str | None = None) -> Command:
    """Return the command that starts a worker with `servant` ("module:Class") and its options (as JSON values).

    `python` is the interpreter, by default the farmer's own; the package must be installed for it.
    """
    argv = (python or sys.executable, "-P", "-m", "pytaskfarmer.worker", servant, json.dumps(options))
    return Command(argv)
