"""Which attempt is where, and what an exit status means."""

import signal
from typing import NamedTuple

from pytaskfarmer.task import Outcome, Task

BATCH_SIGNALS = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGKILL}
)
"""With which a batch system ends the processes of an allocation, before or after it tells the farmer."""


class Place(NamedTuple):
    """Which attempt runs in which slot."""

    task: Task
    attempt: int
    slot: int


def outcome_of(status: int) -> Outcome:
    """Return the outcome of an attempt that ended by itself with an exit status, or minus a signal's number."""
    if status == 0:
        return Outcome.SUCCESS
    return Outcome.NONZERO_EXIT if status > 0 else Outcome.KILLED_BY_SIGNAL
