"""A farm of calls in jobs of a batch system: `Pool(cluster=Slurm(nodes=4, time="1h"))`.

Jobs are submitted when there are calls, and their farmers leave when nothing has come for a while, so nodes are held
only while there is work; when there is more, jobs are submitted again. Caller and farmers meet in files alone: here the
caller looks for results, often while they come and less often while they do not.

Jobs may be ended by the batch system at any time. If calls are left, others are submitted in their place: as many as
there is work for beside the jobs that live, but less and less often if they end as soon as they have begun. When none
lives any more, they are given up if several have come and gone without a result, or a farmer has said that it cannot
work here. Of a job that does not start by itself, we warn, and wait.

How many CPUs the nodes have, this node does not know. So what is listed ahead grows with the slots of the farmers that
have come.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

from pytaskfarmer.api import farmers
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.fleet import Fleet
from pytaskfarmer.api.host import Options
from pytaskfarmer.api.wish import number, whole
from pytaskfarmer.cluster import batch
from pytaskfarmer.cluster.contract import BatchError, Engine, Plan, load
from pytaskfarmer.durations import parse_duration
from pytaskfarmer.errors import UsageError

_logger = logging.getLogger("pytaskfarmer")
_LOOK = (0.02, 1.0)
_ASK = (0.5, 10.0)
_ANSWER, _PART = 5.0, 0.1  # no result is read while the batch system is asked: that may take a tenth of the time
_FRUITLESS = 3
_STUCK = (4.0, 60.0)
_COUNT = 1.0
_AHEAD = 4  # farmers of other nodes learn only now and then that there is more to do
_LARGE_NODE = 128


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
        for name in ("nodes", "jobs", "workers", "cpus"):
            if (count := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole(count, name))
        if self.nodes < 1 or self.jobs < 1:
            raise UsageError(f"{self.jobs} jobs of {self.nodes} nodes: there must be at least one of each.")
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options={self.options!r}: write them as a dictionary, a value None for a flag.")
        seconds = self.seconds()
        if seconds is not None and not seconds > 0:
            raise UsageError(
                f"time={self.time!r}: a job needs some time; leave it out for the batch system's own limit."
            )
        if seconds is not None and math.isinf(seconds):
            raise UsageError(f"time={self.time!r}: leave it out for the batch system's own limit.")
        for name in ("workers", "cpus"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise UsageError(f"{name}={count}: at least one, or leave it out.")

    def seconds(self) -> float | None:
        """Return the time limit in seconds. Raises `UsageError`."""
        if self.time is None:
            return None
        if not isinstance(self.time, str):
            return number(self.time, 'time, in seconds or as "1h",')
        try:
            return parse_duration(self.time)
        except ValueError as error:
            raise UsageError(f"time={self.time!r}: {error}") from None

    def expected(self, wished: int | None) -> int:
        """Return how many calls will run at a time when all farmers run, or about the most that may; see `Cluster`."""
        return self.jobs * self.nodes * (self._slots(wished) or max(_LARGE_NODE, os.cpu_count() or 1))

    def _slots(self, wished: int | None) -> int | None:
        """Return how many slots each farmer is to have; None if only its job will know."""
        share = None if not wished else -(-wished // (self.jobs * self.nodes))
        return self.workers or share or self.cpus

    def _cpus(self, slots: int | None) -> int | None:
        """Return how many CPUs to ask for on each node; None for all of it."""
        return self.cpus or self.workers

    def start(self, options: Options) -> "JobFarm":
        """Return a farm whose jobs are submitted when there are calls."""
        slots = self._slots(options.slots)
        options = replace(options, slots=slots or 0, linger=self.linger, allow_local=self.allow_local)
        plan = Plan(
            argv=(*batch.python("pytaskfarmer.api.host"), json.dumps(asdict(options))),
            directory=os.getcwd(),
            output=Desk(options.root).log_of_job("{job}"),
            nodes=self.nodes,
            farmers=self.jobs,
            seconds=self.seconds(),
            cpus=self._cpus(slots),
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            partition=self.partition,
            options=tuple((key, None if value is None else str(value)) for key, value in self.options.items()),
        )
        return JobFarm(load(self.engine), plan, options.root, slots)


@dataclass(frozen=True)  # again, so that errors name this class
class Slurm(_Jobs):
    """Farmers in Slurm jobs."""

    __slots__ = ()
    engine = "slurm"


@dataclass(frozen=True)
class GridEngine(_Jobs):
    """Farmers in Grid Engine jobs."""

    __slots__ = ()
    engine = "gridengine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes != 1:
            raise UsageError(
                f"nodes={self.nodes}: Grid Engine has no such thing. jobs={self.nodes} submits as many jobs, which "
                "share the calls and need not wait for each other."
            )
        if self.qos is not None:
            raise UsageError(f"qos={self.qos!r}: Grid Engine has no such thing; partition names a queue there.")

    def _cpus(self, slots: int | None) -> int | None:
        """Return how many slots to ask for; None for one, or as many as the option `pe` has behind its name."""
        return self.cpus or (None if len(str(self.options.get("pe")).split()) > 1 else slots)


class JobFarm:
    """The jobs that farm one work directory, with `slots` for each farmer if that is known.

    `outstanding` tells how many slices have no result yet, and `ahead` how many are to be listed at a time.
    """

    def __init__(self, engine: Engine, plan: Plan, root: str, slots: int | None) -> None:
        self.outstanding: Callable[[], int] = lambda: 0
        self.ahead = _AHEAD * plan.farmers * plan.nodes * (slots or os.cpu_count() or 1)
        self._fleet = Fleet(engine, plan)
        self._root, self._nodes, self._slots = root, plan.nodes, slots or 1
        self._woken = threading.Event()
        self._closing = False
        self._pause, self._ask_after = _LOOK[0], _ASK[0]
        self._ask_at = self._stuck_at = self._count_at = 0.0
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
        if left and now >= self._count_at:
            self._count_slots()
            self._count_at = now + _COUNT
        if left and now >= self._ask_at:
            try:
                self._see_to_jobs(now, left)
            except BatchError as error:
                self._why = _in_python(error)
                return False
        self._woken.wait(self._pause)
        self._woken.clear()
        self._pause = min(_LOOK[1], self._pause * 1.3)
        return True

    def _count_slots(self) -> None:
        """See how many calls the farmers make at a time that have come so far."""
        slots = farmers.slots(self._root)
        self._slots = max((self._slots, *slots))
        self.ahead = max(self.ahead, _AHEAD * sum(slots))

    def _see_to_jobs(self, now: float, left: int) -> None:
        """Submit jobs if none lives, or too few do. Raises `BatchError`."""
        alive = self._fleet.ask(_ANSWER)
        took = time.monotonic() - now
        if not alive:
            self._check_whether_hopeless()
            self._fruitless += 1
            self._stuck_at = now + _STUCK[0]
            self._fleet.submit()
            self._ask_after = _ASK[0]
        else:
            try:
                self._fleet.fill_up(-(-left // (self._nodes * self._slots)), now)
            except BatchError as error:  # the others go on
                self._tell(_in_python(error))
            if now >= self._stuck_at:
                self._stuck_at = now + _STUCK[1]
                self._tell(*self._fleet.stuck(_ANSWER))
        self._ask_at = time.monotonic() + max(self._ask_after, took / _PART)
        self._ask_after = min(_ASK[1], self._ask_after * 1.5)

    def _tell(self, *lines: str) -> None:
        """Warn of what a person may not know, such as jobs that wait for one."""
        for line in lines:
            if line not in self._warned:
                self._warned.add(line)
                _logger.warning("pytaskfarmer: %s", line)

    def _check_whether_hopeless(self) -> None:
        """Raise `BatchError` if other jobs would fare no better than those that have ended."""
        path, words = farmers.last_words(self._root)
        if self._fruitless and words.startswith(farmers.REFUSALS):
            raise BatchError(f"{words.removeprefix(farmers.REFUSALS[0])} ({path})")
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
        try:
            self._fleet.end(lambda: farmers.slots(self._root))
        except BatchError as error:
            self._why = _in_python(error)

    def close(self) -> None:
        """Nothing is held."""

    def complaint(self) -> str:
        """Return why no more results come."""
        return self._why


def _in_python(error: BatchError) -> str:
    """Return what a batch system refuses, in the words of a caller in Python."""
    return str(error).replace("--qsub pe=NAME", 'options={"pe": "NAME"}')
