"""What the ends of attempts mean for their tasks: recorded, tried again later, or in doubt for a moment.

A batch system that ends its allocation signals the tasks, too, and they die before their farmer is told. So the end by
such a signal is in doubt: if a stop comes in time the task was stopped, and goes back to the list.
"""

import heapq
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from pytaskfarmer.farm.deadline import Pace
from pytaskfarmer.farm.filing import Ended
from pytaskfarmer.farm.place import BATCH_SIGNALS
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.watching import Tally
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.claims import OwnClaims

_FAILURES_SHOWN = 10
_LONGEST_BACKOFF = 60.0
_PUT_OFF_SECONDS = 0.5


class Settling:
    """Ends become notes in the own claims, counts, and retries; `failures` are the first that are final, by task id.

    The rules say how many retries a task has; none is waited for once `closing()`, when this farmer starts no more.
    `tell` hears of each end first.
    """

    def __init__(
        self,
        own: OwnClaims,
        pace: Pace,
        tally: Tally,
        rules: Rules,
        tell: Callable[[Attempt], None],
        closing: Callable[[], bool],
    ) -> None:
        self._own = own
        self._pace = pace
        self._tally = tally
        self._most = rules.retries + 1
        self._doubt = rules.doubt
        self._tell = tell
        self._closing = closing
        self._retries: list[tuple[float, int, Task, int]] = []
        self._doubtful: list[tuple[float, Attempt]] = []
        self._stopping = False
        self.failures: dict[int, Attempt] = {}

    def take_in(self, ended: Iterable[Ended], now: float) -> None:
        """Settle what has ended, and what has been in doubt for long enough."""
        for attempt, sentenced in ended:
            if not sentenced and attempt.status < 0 and -attempt.status in BATCH_SIGNALS:
                self._doubtful.append((now if self._stopping else now + self._doubt, attempt))
            else:
                self.settle(attempt)
        while self._doubtful and self._doubtful[0][0] <= now:
            _, attempt = self._doubtful.pop(0)
            self.settle(replace(attempt, outcome=Outcome.STOPPED) if self._stopping else attempt)

    def settle(self, attempt: Attempt) -> None:
        """Decide what the end of an attempt means for its task, and note it."""
        self._tell(attempt)
        if attempt.outcome is Outcome.STOPPED:
            self._tally.stopped += self._closing()
            self._own.end(attempt, last=False)
            self.put_off(attempt.task, attempt.number)  # its worker died of another task
            return
        self._pace.ended(attempt.duration)
        if attempt.outcome is Outcome.SUCCESS:
            self._own.end(attempt, last=True)
            self._tally.finished += 1
        elif attempt.number < self._most:
            self._own.end(attempt, last=False)
            backoff = min(_LONGEST_BACKOFF, 2.0 ** (attempt.number - 1)) * random.uniform(0.5, 1.0)
            self._wait(backoff, attempt.task, attempt.number + 1)
        else:
            self._own.end(attempt, last=True)
            self._tally.failed += 1
            if len(self.failures) < _FAILURES_SHOWN:
                self.failures[attempt.task.id] = attempt

    def stop(self, now: float) -> None:
        """Take note that a stop was asked for: what is in doubt was stopped."""
        self._stopping = True
        self._doubtful = [(now, attempt) for _, attempt in self._doubtful]
        self.forget_retries()

    @property
    def in_doubt_until(self) -> float | None:
        """When (monotonic clock) the next doubt ends, if there is one."""
        return self._doubtful[0][0] if self._doubtful else None

    # -- attempts to come

    def put_off(self, task: Task, number: int) -> None:
        """Let an attempt wait a little, for a reason that is not its own."""
        self._wait(_PUT_OFF_SECONDS, task, number)

    def _wait(self, seconds: float, task: Task, number: int) -> None:
        if not self._closing():
            heapq.heappush(self._retries, (time.monotonic() + seconds, task.id, task, number))

    @property
    def retry_at(self) -> float | None:
        """When (monotonic clock) the next attempt that waits may start, if there is one."""
        return self._retries[0][0] if self._retries else None

    def next_retry(self) -> tuple[Task, int]:
        """Return the task that has waited, and the number of its attempt."""
        _, _, task, number = heapq.heappop(self._retries)
        return task, number

    def forget_retries(self) -> None:
        """Wait for none of them; their tasks go back when the farmer leaves."""
        self._retries.clear()
