"""What tidies up after attempts (`Command.finish`), before their slots are free again.

It runs as a process in the attempt's slot, with its log, and is part of the attempt: if it fails, a task that had
succeeded has failed. Where the node is too full to start it, it waits. It is not told to stop, but has no longer than
the grace either, once its attempt is being ended from outside.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from pytaskfarmer.farm import process
from pytaskfarmer.farm.children import Child, Children
from pytaskfarmer.farm.place import Place, outcome_of
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import Attempt, Outcome
from pytaskfarmer.workdir.logs import Logs

_TRY_AGAIN, _PATIENCE_WITH_NODE = 0.6, 30.0


@dataclass(slots=True, eq=False)
class Running:
    """One attempt in a slot, since when in epoch seconds and on the monotonic clock (a call not yet sent: infinity).

    `forgiven` are the seconds that do not count for its time limit. `child` is its process, or what tidies up after it;
    a call has none. `sentence` is why it is being ended from outside; `ended` how the task itself ended, once it has.
    """

    place: Place
    environment: Mapping[str, str]
    child: Child | None
    finish: Callable[[int], Command | None] | None = None
    began: float = 0.0
    since: float = 0.0
    forgiven: float = 0.0
    sentence: Outcome | None = None
    ended: Attempt | None = None

    @property
    def has_time_limit(self) -> bool:
        """Whether it can still be ended for the time it takes: not when only its group is left."""
        return self.sentence is None and (self.child is None or self.child.end is None)


class Tidying:
    """Starts what tidies up; `cpus` says on which CPUs a slot's processes run (None: any), `grace` is in seconds."""

    def __init__(
        self, children: Children, logs: Logs, grace: float, cpus: Callable[[int], Collection[int] | None]
    ) -> None:
        self._children = children
        self._logs = logs
        self._grace = grace
        self._cpus = cpus
        self._waiting: list[tuple[Running, Command, float]] = []
        self._try_at = 0.0

    @property
    def waiting(self) -> list[Running]:
        """The attempts after which it could not be started yet."""
        return [run for run, _, _ in self._waiting]

    @property
    def due(self) -> float | None:
        """When (monotonic clock) to try again, if there is anything to try."""
        return self._try_at if self._waiting else None

    def begin(self, run: Running, status: int) -> bool:
        """Start what tidies up after an attempt, as its child; False: there is nothing to do, or it cannot be done."""
        if run.finish is None:
            return False
        try:
            command = run.finish(status)
        except (Exception, SystemExit) as error:
            return self._cannot(run, error)
        return command is not None and self._start(run, command, time.monotonic())

    def again(self) -> tuple[list[Running], list[Running]]:
        """Try once more; return the attempts for which it has been started, and those for which it cannot be done."""
        waiting, self._waiting = self._waiting, []
        hopeless = [run for run, command, since in waiting if not self._start(run, command, since)]
        return [run for run, _, _ in waiting if run.child is not None], hopeless

    def _start(self, run: Running, command: Command, since: float) -> bool:
        """Start it, or put it off where the node is full, which has been so since then at most."""
        task, slot = run.place.task, run.place.slot
        run.child = None
        try:
            output = self._logs.resume(task.id, slot)
            try:
                run.child = self._children.start(command, run.environment, output, cpus=self._cpus(slot))
            finally:
                os.close(output)
        except Exception as error:
            full = isinstance(error, OSError) and error.errno in process.NODE_IS_FULL
            if not full or time.monotonic() - since > _PATIENCE_WITH_NODE:
                return self._cannot(run, error)
            self._waiting.append((run, command, since))
            self._try_at = time.monotonic() + _TRY_AGAIN
            return True
        if run.sentence is not None:
            self._children.sentence(run.child, None, self._grace)
        return True

    def _cannot(self, run: Running, error: BaseException) -> bool:
        what = f"pytaskfarmer: cannot tidy up after the task: {error}"
        self._logs.note(run.place.task.id, run.place.slot, what)
        blame(run, 1)
        return False


def blame(run: Running, status: int) -> None:
    """Let a task that had succeeded fail, since tidying up failed; or let it go back if it is being stopped."""
    assert run.ended is not None
    if run.ended.outcome is Outcome.SUCCESS:
        run.ended = replace(run.ended, outcome=run.sentence or outcome_of(status), status=status)
