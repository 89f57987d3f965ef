"""When to stop, how long tasks take, and how many to take at a time. Pure: time comes in as seconds."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

LEARNT_FROM = 10
_SHORTEST_HORIZON = 1.0
_WAITS_PER_HORIZON = 50
_MOMENT = 0.1
_REMEMBERED = 101


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which this farmer must stop, in seconds of the clock that `now` is read from; None: never.

    With `fit`, tasks that would not end before it are not started.
    """

    at: float | None = None
    why: str = ""
    fit: bool = True

    def reached(self, now: float) -> bool:
        """Whether it is time to stop."""
        return self.at is not None and now >= self.at

    def fits(self, now: float, typical: float | None) -> bool:
        """Whether a task of typical duration (seconds; None: unknown) would end in time."""
        return self.at is None or not self.fit or typical is None or now + typical <= self.at


class Pace:
    """How long tasks take here, and how long the lock makes one wait; both in seconds, learned from the last ones."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._since_median = 0
        self._median: float | None = None
        self._wait = 0.0

    def ended(self, duration: float) -> None:
        """Learn from a task that ended by itself."""
        self._durations.append(duration)
        self._since_median += 1
        if len(self._durations) >= LEARNT_FROM and (self._median is None or self._since_median >= _REMEMBERED // 4):
            self._since_median = 0
            self._median = median(self._durations)

    def waited(self, seconds: float) -> None:
        """Learn from one wait for the lock."""
        self._wait += (seconds - self._wait) / 8

    @property
    def typical(self) -> float | None:
        """The median duration, once ten tasks have ended."""
        return self._median

    @property
    def horizon(self) -> float:
        """For how many seconds of work it pays to hold tasks: waiting for the lock then stays near 2 %."""
        return max(_SHORTEST_HORIZON, _WAITS_PER_HORIZON * self._wait)

    def block(self, slots: int, free: int, queued: int, waiting: Callable[[], int], live_slots: int | None) -> int:
        """Return how many tasks to take.

        The free slots; plus, when tasks are short, enough to keep the slots busy for the horizon, but no more than half
        of their share of what has not begun (`waiting()` is asked for only if it matters), so that nobody starves at
        the end; what takes but a moment is not worth sharing. It is taken once less than half of that is queued: else
        each task would cost a visit. Where nobody else can be there (None), all may be taken, once two a slot are left
        in hand.
        """
        need = max(0, free - queued)
        if self._median is None or self._median >= self.horizon:
            return need
        enough = int(slots * self.horizon / max(self._median, 1e-4))
        if live_slots is None:
            return 0 if queued > 2 * slots else max(need, min(enough - queued, waiting()))
        if queued > enough // 2:
            return 0
        share = slots * (waiting() + queued) // (2 * max(live_slots, slots))
        goal = min(enough, max(share, int(enough * _MOMENT / self.horizon)))
        return need if queued > goal // 2 else max(need, goal - queued)
