"""Keep what attempts leave behind, output and result, even while the disk is full.

Where there is no room for a result, nobody hears of the attempt's end before there is, since a result that is not kept
dies with the farmer. Output needs no room (`logs`); where it cannot be moved all the same, its slot stays taken.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from pytaskfarmer.task import Attempt, Outcome
from pytaskfarmer.workdir.logs import Logs
from pytaskfarmer.workdir.results import Results

_TRY_AGAIN = 0.6

Ended = tuple[Attempt, bool]
"""The end of an attempt, and whether it was ended from outside."""


class Filing:
    """What is kept of attempts; `free` is called with each slot that can be used again.

    `no_room` says why results cannot be kept now.
    """

    def __init__(self, logs: Logs, results: Results, free: Callable[[int], None]) -> None:
        self._logs = logs
        self._results = results
        self._free = free
        self._waiting: list[tuple[Ended, bytes | None]] = []
        self._try_at = 0.0
        self.no_room: OSError | None = None

    def file(self, ended: Ended, result: bytes | None) -> list[Ended]:
        """Keep what an attempt left, and return its end if it may be told now."""
        attempt, _ = ended
        try:
            self._logs.end(attempt)  # first, so that whoever reads the result finds what was printed
            if result is not None:
                self._results.keep(attempt, result)
        except OSError as error:
            self._waiting.append((ended, result))
            self._try_at = time.monotonic() + _TRY_AGAIN
            if result is not None:
                self.no_room = error
                return []
        else:
            self._free(attempt.slot)
        return [ended]

    def again(self) -> list[Ended]:
        """Try once more to keep what there was no room for, and return the ends of which nobody has heard yet."""
        waiting, self._waiting, self.no_room = self._waiting, [], None
        return [end for ended, result in waiting for end in self.file(ended, result) if result is not None]

    def surrender(self) -> list[Ended]:
        """Give up results for which there is no room, and return the ends of their attempts: as if stopped by us."""
        lost = [attempt for (attempt, _), result in self._waiting if result is not None]
        self._waiting = [(ended, None) for ended, _ in self._waiting]
        self.no_room = None
        return [(replace(attempt, outcome=Outcome.STOPPED), True) for attempt in lost]

    @property
    def due(self) -> float | None:
        """When (monotonic clock) to try again, if there is anything to try."""
        return self._try_at if self._waiting else None
