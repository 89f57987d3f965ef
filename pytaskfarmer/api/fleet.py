"""The jobs of one plan: submitted, asked after, replaced where some have ended, and cancelled."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from pytaskfarmer.cluster.contract import Engine, Plan, State, stuck

_ALIVE = {State.PENDING, State.RUNNING, State.HELD, State.UNKNOWN}
_AGAIN = (1.0, 300.0)
_PATIENCE = 60.0
_LEAVE = 10.0


class Fleet:
    """Jobs of `plan`, as many at a time as it has farmers. For one thread at a time, but for `end`.

    Methods raise `BatchError`; the constructor raises `UsageError` for a plan that the batch system cannot have.
    """

    def __init__(self, engine: Engine, plan: Plan) -> None:
        engine.render(plan)
        self._engine, self._plan = engine, plan
        self._ids: tuple[str, ...] = ()
        self._submitting = threading.Lock()
        self._ended = False
        self._again, self._again_at = _AGAIN[0], 0.0

    def ask(self, patience: float) -> int:
        """Ask the batch system, for so many seconds, where the jobs are; return how many have not ended."""
        states = self._engine.states(self._ids, patience) if self._ids else {}
        self._ids = tuple(job for job in self._ids if states.get(job) in _ALIVE)
        return len(self._ids)

    def submit(self, count: int | None = None) -> None:
        """Submit so many jobs, or all of the plan; none after the `end`."""
        plan = self._plan if count is None else replace(self._plan, farmers=count)
        with self._submitting:
            if not self._ended:
                self._ids += self._engine.submit(self._engine.render(plan), plan)

    def fill_up(self, useful: int, now: float) -> None:
        """Submit others for jobs that have ended, as far as there are then no more than `useful` ones.

        Where these end as well, the next ones wait longer and longer.
        """
        if now < self._again_at:
            return
        wanted = min(self._plan.farmers, useful) - len(self._ids)
        if wanted > 0:
            self._again_at, self._again = now + self._again, min(_AGAIN[1], 2 * self._again)
            self.submit(wanted)
        elif len(self._ids) == self._plan.farmers:
            self._again = _AGAIN[0]

    def stuck(self, patience: float) -> list[str]:
        """Return a line for each job that does not start by itself."""
        return stuck(self._engine, self._ids, patience)

    def end(self, farmers: Callable[[], object]) -> None:
        """Cancel all jobs, also those that are being submitted, and wait until they have ended, for a minute at most.

        A job that has been given notice counts as cancelled: as long as there are `farmers`, it is waited for a while.
        """
        self._ended = True
        with self._submitting:
            ids = self._ids
        if not ids:
            return
        began = time.monotonic()
        try:
            self._engine.cancel(ids)
        finally:
            while (waited := time.monotonic() - began) < _PATIENCE:
                states = {*self._engine.states(ids, _PATIENCE / 10).values()}
                leaving = State.CANCELLED in states and waited < _LEAVE and farmers()
                if not (leaving or states & {State.PENDING, State.RUNNING}):
                    break
                time.sleep(0.1)
