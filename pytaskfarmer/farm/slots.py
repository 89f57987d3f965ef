"""The slots of one farmer: start an attempt, learn of its end, and the ladder that ends it from outside.

An attempt is a process of its own, or a call of a warm worker (`workers`). A slot is free again only when nothing of
its process group is left (`children`), what the attempt left on the disk has been tidied up (`tidying`), and its
output and its result are kept (`filing`).

Ended from outside, an attempt is a process that gets the ladder, or a call whose worker gets it. What uses more memory
than it may (`memory`) gets no grace. Whatever left the group is killed last, as far as it still carries the task's
mark.
"""

import math
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pytaskfarmer.farm import process
from pytaskfarmer.farm.cgroup import KernelKills
from pytaskfarmer.farm.children import Child, Children, End
from pytaskfarmer.farm.filing import Ended, Filing
from pytaskfarmer.farm.place import Place, outcome_of
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.tidying import Running, Tidying, blame
from pytaskfarmer.farm.warm import Begun
from pytaskfarmer.farm.workers import Done, Lost, Workers
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.logs import Logs
from pytaskfarmer.workdir.results import Results
from pytaskfarmer.worker import wire

if TYPE_CHECKING:
    from pytaskfarmer.farm.memory import MemoryWatch

_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter is what a shell makes of it
_KERNEL = "killed by the kernel, which had no memory left"


class Slots:
    """N slots, and what runs in them; `concurrency` and `max_tasks` are those of a `WorkerRunner`.

    `filing` keeps what attempts leave behind.
    """

    def __init__(
        self,
        rules: Rules,
        logs: Logs,
        results: Results,
        poll: select.epoll,
        concurrency: int = 1,
        max_tasks: int | None = None,
    ) -> None:
        self._free = list(range(rules.slots - 1, -1, -1))
        self._grace = rules.grace
        self._stop_signal = rules.stop_signal
        self._task_timeout = rules.task_timeout
        self._running: dict[int, Running] = {}
        self._of_child: dict[Child, Running] = {}
        self._logs = logs
        self.filing = Filing(logs, results, self._free.append)
        self.children = Children(poll)
        self._tidying = Tidying(self.children, logs, rules.grace, self._cpus)
        self.workers = Workers(self.children, poll, concurrency, max_tasks, rules.grace, rules.shares)
        self._shares, self._concurrency = rules.shares, concurrency
        self._kernel = KernelKills()
        self._memory = _watch(rules.memory and rules.memory * concurrency)
        self.busy_seconds = 0.0

    @property
    def free(self) -> int:
        """The number of free slots."""
        return len(self._free)

    @property
    def running(self) -> int:
        """The number of slots in use."""
        return len(self._running)

    def take(self) -> int:
        """Reserve a free slot and return its number."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Free a slot in which nothing was started after all."""
        self._free.append(slot)

    def start(self, place: Place, command: Command, environment: Mapping[str, str], output: int) -> None:
        """Start a process in a reserved slot; close `output`, its log, in any case.

        Raises OSError if it cannot start; nothing runs then, and the slot stays reserved.
        """
        try:
            child = self.children.start(command, environment, output, cpus=self._cpus(place.slot))
        finally:
            os.close(output)
        run = Running(place, environment, child, command.finish, child.began, child.since)
        self._running[place.slot] = self._of_child[child] = run

    def _cpus(self, slot: int) -> Collection[int] | None:
        return self._shares[slot // self._concurrency].cpus if self._shares else None

    def call(
        self, place: Place, request: bytes, new: Callable[[], Command], environment: Mapping[str, str], output: int
    ) -> None:
        """Hand a task to the worker of a reserved slot; otherwise like `start`. `new` says how to start a worker."""
        self.workers.hand(place, request, new, environment, output)
        self._running[place.slot] = Running(place, environment, None, None, time.time(), math.inf)

    def fail(
        self, place: Place, error: Exception, command: Command | None, environment: Mapping[str, str]
    ) -> list[Ended]:
        """Take note that an attempt could not start: 126 not permitted, else 127.

        Returns its end as `ended` does, or nothing if there is something to tidy up first.
        """
        self._logs.note(place.task.id, place.slot, f"pytaskfarmer: cannot start the task: {error}")
        status = 126 if isinstance(error, PermissionError) else 127
        run = Running(place, environment, None, command.finish if command else None, time.time(), time.monotonic())
        run.ended = Attempt(*place, Outcome.FAILED_TO_START, status, run.began, 0.0)
        self._running[place.slot] = run
        return [] if self._tidy_up(run, status) else self._over(run)

    # -- ends

    def ended(self, signalled: Iterable[int]) -> Iterator[Ended]:
        """Yield what has ended, and whether the ladder had begun for it, and free its slot."""
        signalled = list(signalled)
        yield from self._try_again(time.monotonic())
        for event in self.workers.heard(signalled):
            yield from self._call_event(event)
        for child in self.children.gone(signalled):
            self._blame_for_memory(child)
            run = self._of_child.pop(child, None)
            if run is not None:
                assert child.end is not None
                if run.ended is None:
                    yield from self._process_ended(run, child, child.end)
                    continue
                if child.end.status:
                    blame(run, child.end.status)
                yield from self._over(run)
                continue
            for last in self.workers.gone(child):
                yield from self._call_event(last)

    def _process_ended(self, run: Running, child: Child, end: End) -> Iterator[Ended]:
        task, slot = run.place.task, run.place.slot
        if child.fault and run.sentence is None:
            run.sentence = Outcome.OUT_OF_MEMORY
        run.ended = Attempt(
            *run.place, run.sentence or outcome_of(end.status), end.status, run.began, end.duration, end.cpu,
            end.peak_memory, child.pid,
        )  # fmt: skip
        if run.sentence in {Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY}:
            self._kill_strays_of(task)
        if run.sentence is Outcome.OUT_OF_MEMORY:
            self._logs.note(task.id, slot, f"pytaskfarmer: {child.fault}")
        elif child.killed and run.sentence is None:
            what = "process" if child.killed == 1 else "processes"
            self._logs.note(task.id, slot, f"pytaskfarmer: killed {child.killed} {what} that the task left behind")
        if not self._tidy_up(run, end.status):
            yield from self._over(run)

    def _tidy_up(self, run: Running, status: int) -> bool:
        tidies = self._tidying.begin(run, status)
        if tidies and run.child is not None:
            self._of_child[run.child] = run
        return tidies

    def _call_event(self, event: Begun | Done | Lost) -> Iterator[Ended]:
        run = self._running[event.slot]
        if isinstance(event, Begun):
            run.began, run.since, run.forgiven = event.began, event.since, 0.0
            return
        if isinstance(event, Done):
            status, cpu, peak = event.message.status, event.message.cpu, event.message.peak
            outcome = outcome_of(status) if status == 0 else run.sentence or outcome_of(status)
        else:
            status, _, cpu, peak = event.end
            if event.innocent:
                run.sentence = Outcome.STOPPED
            elif run.sentence is None:
                self._logs.note(run.place.task.id, event.slot, f"pytaskfarmer: {event.why}")
                run.sentence = Outcome.OUT_OF_MEMORY if event.out_of_memory else None
            outcome = run.sentence or outcome_of(status)
        duration = max(0.0, time.monotonic() - run.since)
        run.ended = Attempt(*run.place, outcome, status, run.began, duration, cpu, peak, event.pid)
        if run.sentence is Outcome.TIMED_OUT:
            self._kill_strays_of(run.place.task)
        result = event.result
        if outcome is Outcome.STOPPED:
            result = event.result if isinstance(event, Lost) and len(event.result) > wire.PAD else None
        elif outcome is not Outcome.SUCCESS:
            result = result or b""  # for whoever follows the results to learn of the failure
        yield from self._over(run, result)

    def _blame_for_memory(self, child: Child) -> None:
        """Find out whether the kernel killed a child that nobody else has killed."""
        assert child.end is not None
        if child.end.status in _KILLED and not child.sentenced and self._kernel.claim(time.monotonic()):
            child.fault = _KERNEL

    def _kill_strays_of(self, task: Task) -> None:
        if not process.no_strays(self.children.leaders):
            process.end_strays(self.children.leaders, task.id)

    def _over(self, run: Running, result: bytes | None = None) -> list[Ended]:
        """Let go of an attempt and return its end, unless there is no room for its result."""
        assert run.ended is not None
        del self._running[run.place.slot]
        self.busy_seconds += run.ended.duration
        return self.filing.file((run.ended, run.sentence is not None), result)

    def _try_again(self, now: float) -> Iterator[Ended]:
        """Try once more what the disk or the node had no room for."""
        if self.filing.due is not None and now >= self.filing.due:
            yield from self.filing.again()
        if self._tidying.due is not None and now >= self._tidying.due:
            started, hopeless = self._tidying.again()
            self._of_child.update((run.child, run) for run in started if run.child is not None)
            for run in hopeless:
                yield from self._over(run)

    # -- the ladder

    def sentence_all(self, outcome: Outcome) -> None:
        """Begin the ladder for every attempt that has not ended by itself."""
        for slot in self.workers.sentence_all(self._stop_signal, self._grace):
            self._running[slot].sentence = outcome
        for run in [*self._of_child.values(), *self._tidying.waiting]:
            self._sentence(run, outcome)

    def _sentence(self, run: Running, outcome: Outcome) -> None:
        """Begin it for one attempt, or for what tidies up after it, which is not told to stop."""
        if run.sentence is not None:
            return
        if run.child is None and run.ended is not None:
            began = True  # what tidies up could not be started yet
        elif run.child is None:
            began = self.workers.sentence(run.place.slot, self._stop_signal, self._grace)
        else:
            number = self._stop_signal if run.ended is None else None
            began = self.children.sentence(run.child, number, self._grace)
        if began:
            run.sentence = outcome

    def forgive(self, seconds: float) -> None:
        """Let no attempt's time limit count the seconds for which all of them were suspended."""
        for run in self._running.values():
            run.forgiven += seconds

    def tend(self, now: float) -> None:
        """Begin the ladder for attempts beyond their time limit, and KILL what had its grace."""
        if self._task_timeout is not None:
            for run in list(self._running.values()):
                if now - run.since - run.forgiven >= self._task_timeout:
                    self._sentence(run, Outcome.TIMED_OUT)
        if self._memory is not None and now >= self._memory.due:
            self._weigh(self._memory)
        self._kernel.look(now)
        self.workers.tend(now)
        self.children.tend(now)

    def _weigh(self, memory: "MemoryWatch") -> None:
        """Kill what uses more memory than it may, at once: it would go on growing through any grace."""
        at_work = [child.pid for child, run in self._of_child.items() if run.ended is None]
        for pid, fault in memory.look([*at_work, *self.workers.leaders]).items():
            child = self.children.condemn(pid, fault)
            if child is None:
                continue
            run = self._of_child.get(child)
            if run is None:
                self.workers.condemned(child)
            else:
                run.sentence = Outcome.OUT_OF_MEMORY

    def next_event(self) -> float | None:
        """Return when (monotonic clock) something must be looked at without being signalled."""
        moments = [self.workers.next_event(), self.children.next_event(), self.filing.due, self._tidying.due]
        if self._memory is not None and self._running:
            moments.append(self._memory.due)
        if self._task_timeout is not None:
            limit = self._task_timeout
            moments += [run.since + run.forgiven + limit for run in self._running.values() if run.has_time_limit]
        return min((moment for moment in moments if moment is not None), default=None)

    def close(self) -> None:
        """Let go of everything; nothing runs any more."""
        self._kernel.close()
        self.workers.close()
        self.children.close()


def _watch(limit: int | None) -> "MemoryWatch | None":
    if limit is None:
        return None
    from pytaskfarmer.farm.memory import MemoryWatch

    return MemoryWatch(limit)
