"""A farm of calls in jobs of a batch system: `Pool(cluster=Slurm(nodes=4, time="1h"))`.

Jobs are submitted when there are calls, and their farmers leave when nothing has come for a while, so nodes are held
only while there is work; when there is more, jobs are submitted again. Caller and farmers meet in files alone: here the
caller looks for results, often while they come and less often while they do not.

Jobs may be ended by the batch system at any time. If calls are left, others are submitted in their place, unless
several have come and gone without a result, or a farmer has said that it cannot work here. Of a job that does not start
by itself, we warn, and wait.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.host import Options
from pytaskfarmer.cluster import batch
from pytaskfarmer.cluster.contract import BatchError, Engine, Plan, State, load, stuck
from pytaskfarmer.durations import parse_duration
from pytaskfarmer.errors import UsageError

_logger = logging.getLogger("pytaskfarmer")
_LOOK = (0.02, 1.0)
_ASK = (0.5, 10.0)
_ANSWER, _PART = 5.0, 0.1  # no result is read while the batch system is asked: that may take a tenth of the time
_FRUITLESS = 3
_PATIENCE = 60.0
_ALIVE = {State.PENDING, State.RUNNING, State.HELD, State.UNKNOWN}
_STUCK = (4.0, 60.0)
_REFUSALS = ("pytaskfarmer: error: ", "no worker can be had: ")


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Jobs in which farmers run.

    There are `jobs` jobs of `nodes` nodes each, for `time` (seconds, or as "1h") at most, with `workers` calls at a
    time on each node (default: as many as the job has CPUs there; `cpus` asks for so many, else it is whole nodes).
    `options` are for the batch system as they are, a value None for a flag. `linger` is for how many seconds a node is
    held after the last call. `allow_local` uses a work directory on a disk that looks like that of one node alone.
    """

    engine: ClassVar[str]

    nodes: int = 1
    time: float | str | None = None
    jobs: int = 1
    workers: int | None = None
    cpus: int | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    partition: str | None = None
    options: Mapping[str, str | int | None] = field(default_factory=dict)
    linger: float = 10.0
    allow_local: bool = False

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.jobs < 1:
            raise UsageError(f"{self.jobs} jobs of {self.nodes} nodes: there must be at least one of each.")
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options={self.options!r}: write them as a dictionary, a value None for a flag.")
        seconds = self.seconds()
        if seconds is not None and not seconds > 0:
            raise UsageError(
                f"time={self.time!r}: a job needs some time; leave it out for the batch system's own limit."
            )
        for name in ("workers", "cpus"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise UsageError(f"{name}={number}: at least one, or leave it out.")

    def seconds(self) -> float | None:
        """Return the time limit in seconds. Raises `UsageError`."""
        if self.time is None or isinstance(self.time, int | float):
            return self.time
        try:
            return parse_duration(self.time)
        except ValueError as error:
            raise UsageError(f"time={self.time!r}: {error}") from None

    @property
    def expected(self) -> int:
        """About how many calls run at a time when all farmers run."""
        return self.jobs * self.nodes * (self.workers or self.cpus or os.cpu_count() or 1)

    def start(self, options: Options) -> "JobFarm":
        """Return a farm whose jobs are submitted when there are calls."""
        engine = load(self.engine)
        farmers = self.jobs * self.nodes
        slots = self.workers or -(-options.slots // farmers)
        options = replace(options, slots=slots, linger=self.linger, allow_local=self.allow_local)
        plan = Plan(
            argv=(*batch.python("pytaskfarmer.api.host"), json.dumps(asdict(options))),
            directory=os.getcwd(),
            output=Desk(options.root).log_of_job("{job}"),
            nodes=self.nodes,
            farmers=self.jobs,
            seconds=self.seconds(),
            cpus=self.cpus or self.workers,
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            partition=self.partition,
            options=tuple((key, None if value is None else str(value)) for key, value in self.options.items()),
        )
        return JobFarm(engine, plan, options.root)


class Slurm(_Jobs):
    """Farmers in Slurm jobs."""

    __slots__ = ()
    engine = "slurm"


class GridEngine(_Jobs):
    """Farmers in Grid Engine jobs."""

    __slots__ = ()
    engine = "gridengine"


def _last_words(root: str) -> tuple[str, str]:
    """Return the youngest log of the farmers in jobs, and in a line of it why they ended, or its last one."""
    desk = Desk(root)
    path: str = max(desk.logs_of_jobs(), key=os.path.getmtime, default=desk.log_of_job("*"))
    try:
        with open(path, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
    except OSError:
        return path, "no log"
    return path, next((line for line in lines if line.startswith(_REFUSALS)), lines[-1] if lines else "not a word")


class JobFarm:
    """The jobs that farm one work directory. `outstanding` tells how many slices have no result yet."""

    def __init__(self, engine: Engine, plan: Plan, root: str) -> None:
        self.outstanding: Callable[[], int] = lambda: 0
        self._engine, self._plan, self._root = engine, plan, root
        engine.render(plan)  # what cannot be had is told now
        self._ids: tuple[str, ...] = ()
        self._woken = threading.Event()
        self._closing = False
        self._pause, self._ask_after, self._ask_at, self._stuck_at = _LOOK[0], _ASK[0], 0.0, 0.0
        self._left: int | None = None
        self._fruitless = 0
        self._warned: set[str] = set()
        self._why = "the pool was closed"

    def poke(self) -> None:
        """Take note that there is work: jobs may have to be submitted."""
        self._pause = _LOOK[0]
        self._woken.set()

    def wait(self) -> bool:
        """Look after the jobs, and return when it is time to look for results; False when no more will come."""
        left = self.outstanding()
        if left != self._left:
            self._left, self._fruitless, self._pause = left, 0, _LOOK[0]
        if self._closing:
            return False
        now = time.monotonic()
        if left and now >= self._ask_at:
            try:
                self._see_to_jobs(now)
            except BatchError as error:
                self._why = str(error)
                return False
        self._woken.wait(self._pause)
        self._woken.clear()
        self._pause = min(_LOOK[1], self._pause * 1.3)
        return True

    def _see_to_jobs(self, now: float) -> None:
        """Submit jobs if none lives. Raises `BatchError`."""
        states = self._engine.states(self._ids, _ANSWER) if self._ids else {}
        took = time.monotonic() - now
        if not any(state in _ALIVE for state in states.values()):
            self._check_whether_hopeless()
            self._fruitless += 1
            self._stuck_at = now + _STUCK[0]
            plan = self._plan
            self._ids = self._engine.submit(self._engine.render(plan), plan)
            self._ask_after = _ASK[0]
        elif now >= self._stuck_at:
            self._stuck_at = now + _STUCK[1]
            self._warn()
        self._ask_at = time.monotonic() + max(self._ask_after, took / _PART)
        self._ask_after = min(_ASK[1], self._ask_after * 1.5)

    def _warn(self) -> None:
        """Tell of jobs that wait for a person, who may not know."""
        for line in stuck(self._engine, self._ids, _ANSWER):
            if line not in self._warned:
                self._warned.add(line)
                _logger.warning("pytaskfarmer: %s", line)

    def _check_whether_hopeless(self) -> None:
        """Raise `BatchError` if other jobs would fare no better than those that have ended."""
        path, words = _last_words(self._root)
        if self._fruitless and words.startswith(_REFUSALS):
            raise BatchError(f"{words.removeprefix(_REFUSALS[0])} ({path})")
        if self._fruitless >= _FRUITLESS:
            raise BatchError(
                f"{self._fruitless} times, jobs have ended without a result: {words or 'no word'} ({path})"
            )

    def finish(self) -> None:
        """End the jobs, since nothing is left for them to do."""
        self._end()

    def stop(self) -> None:
        """End the jobs now; the calls that run go back to the list."""
        self._end()

    def _end(self) -> None:
        self._closing = True
        self._woken.set()
        if not self._ids:
            return
        give_up = time.monotonic() + _PATIENCE
        try:
            self._engine.cancel(self._ids)
        except BatchError as error:
            self._why = str(error)
        while time.monotonic() < give_up:
            states = self._engine.states(self._ids, _ANSWER).values()
            if not any(state in {State.PENDING, State.RUNNING} for state in states):
                return
            time.sleep(0.1)

    def close(self) -> None:
        """Nothing is held."""

    def complaint(self) -> str:
        """Return why no more results come."""
        return self._why
