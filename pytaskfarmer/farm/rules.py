"""How a farmer treats its tasks."""

import signal
from dataclasses import dataclass, field

from pytaskfarmer.farm.deadline import Deadline
from pytaskfarmer.farm.resources import Share


@dataclass(frozen=True, slots=True)
class Rules:
    """What a farmer was told. Durations are in seconds; `retries` counts attempts after the first.

    `max_fails` is the number of failed tasks of this farmer after which it starts no more.
    `shares` has one for each process that runs at a time, or none; `memory` is the most that the processes of one task
    may use, in bytes. `doubt` is for how long the end of a task by such a signal as batch systems send is in doubt.
    """

    slots: int
    deadline: Deadline = field(default_factory=Deadline)
    task_timeout: float | None = None
    retries: int = 0
    max_fails: int | None = None
    grace: float = 10.0
    stop_signal: int = signal.SIGTERM
    wait: bool = False
    shares: tuple[Share, ...] = ()
    memory: int | None = None
    doubt: float = 2.0
