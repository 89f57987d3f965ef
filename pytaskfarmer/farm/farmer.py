"""One farmer: the loop that keeps its slots busy.

Ends of tasks and signals wake the loop, and the main lock is one more thing to come round to. Per turn it obeys
signals, takes in what ended, hands out what it holds, writes its notes with one write, starts processes, and visits
the books if a visit is due. A task's start is noted before its process exists and its end as soon as it is known, so
whatever kills the farmer, its claims file tells what ran and what had ended, as far as the disk had room for it.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping

from pytaskfarmer.durations import format_duration
from pytaskfarmer.farm import process
from pytaskfarmer.farm.deadline import Deadline, Pace
from pytaskfarmer.farm.feeding import Feed
from pytaskfarmer.farm.place import Place
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.settling import Settling
from pytaskfarmer.farm.signals import Signals
from pytaskfarmer.farm.slots import Slots
from pytaskfarmer.farm.starting import CannotStart, how
from pytaskfarmer.farm.visits import Need, Visits
from pytaskfarmer.farm.watching import Observer, Summary, Tally
from pytaskfarmer.farm.workers import Unfit
from pytaskfarmer.plugins.contracts import Runner, TaskContext, WorkerRunner
from pytaskfarmer.task import Outcome, Task
from pytaskfarmer.workdir import logs, records, timeline
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.opening import Opened
from pytaskfarmer.workdir.results import Results
from pytaskfarmer.workdir.roster import HEARTBEAT

_PATIENCE_WITH_LOCK = 10.0


class Farmer:
    """Runs tasks of one work directory until there are none, or it must stop.

    `failed_earlier` counts the tasks that had failed for it before it was evicted and began anew.
    """

    def __init__(
        self,
        opened: Opened,
        runner: Runner | WorkerRunner,
        log_mode: str,
        rules: Rules,
        observer: Observer,
        environ: Mapping[str, str],
        feed: Feed | None = None,
        failed_earlier: int = 0,
    ) -> None:
        books = opened.books
        self._books = books
        self._own = books.own
        self._start_attempt = how(runner)
        self._rules = rules
        self._observer = observer
        common = _common_environment(environ, books, rules.deadline)
        self._concurrency, _ = _of_workers(runner)
        self._environments = [process.changed(common, share.environment) for share in rules.shares] or [common]
        self._poll = select.epoll()
        self._logs = logs.start(log_mode, books.layout, books.own.farmer.name, self._has_no_strays)
        self._results = Results(books.layout, books.own.farmer.name)
        self._slots = Slots(rules, self._logs, self._results, self._poll, *_of_workers(runner))
        self._children = self._slots.children
        self._pace = Pace()
        self._feed = feed
        self._visits = Visits(books, rules.slots, self._pace, observer, wait=rules.wait, feed=feed)
        self._visits.leaving.company = opened.company
        self._tally = Tally(tasks=books.register.tasks, company=opened.company)
        if opened.census is not None:
            self._tally.before = opened.census.finished + opened.census.failed
            self._tally.failed_before = opened.census.failed
        self._failed_earlier = failed_earlier
        self._settling = Settling(self._own, self._pace, self._tally, rules, observer.ended, lambda: self._closing)
        self._stopping: str | None = None
        self._hurried_at: float | None = None
        self._draining: str | None = None
        self._nothing_fits = False
        self._told_no_room: OSError | None = None
        self._last_beat = time.monotonic()
        self._last_look = 0.0

    def run(self, signals: Signals) -> Summary:
        """Run until the list is done or this farmer is stopped.

        Raises `Evicted`, after killing what runs, if others have its tasks; another `WorkdirError` if the work
        directory is gone.
        """
        begin = time.monotonic()
        self._poll.register(signals, select.EPOLLIN)
        if self._feed is not None:
            self._feed.watch(self._poll)
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._poll.close)
            at_the_end.callback(self._slots.close)
            at_the_end.callback(self._logs.close)
            at_the_end.callback(self._results.close)
            at_the_end.callback(self._slots.filing.again)
            at_the_end.callback(process.end_strays, ())
            at_the_end.callback(self._children.signal_all, signal.SIGKILL)
            self._loop(signals)
            self._dismiss_workers(signals)
        return self._summary(time.monotonic() - begin)

    def _loop(self, signals: Signals) -> None:
        ready: list[int] = []
        while True:
            now = time.monotonic()
            self._obey(signals, now)
            self._take_in(ready, now)
            self._hand_out(now)
            if self._stopping and not (self._slots.running or self._slots.workers.busy):
                process.end_strays(())  # before their tasks go back, for others to start
            if self._visits.visit(now, self._need()) or self._must_abandon(now):
                return
            self._keep_house(now)
            ready = [descriptor for descriptor, _ in self._poll.poll(self._pause())]

    def _must_abandon(self, now: float) -> bool:
        """Whether to end without returning what is held, since processes do not die, or the lock is not to be had."""
        if not self._stopping:
            return False
        if self._children.stuck(now):
            self._observer.warn("processes are stuck in the kernel and do not die; the next run takes their tasks back")
            return True
        if self._hurried_at is not None and not self._slots.running and now - self._hurried_at > _PATIENCE_WITH_LOCK:
            self._observer.warn("the lock is not to be had; the next run takes back what is held")
            return True
        return False

    # -- signals and time

    def _obey(self, signals: Signals, now: float) -> None:
        if self._feed is not None:
            self._feed.look(now, idle=not (self._slots.running or self._visits.queue))
            if self._feed.caller_has_died and self._stopping is None:
                signals.stop("the end of its caller", now)
        if self._rules.deadline.reached(now) and self._stopping is None:
            signals.stop(self._rules.deadline.why, now)
        asked = signals.read()
        if asked.suspend:
            asked.suspend = False
            self._suspend()
        if asked.drain and self._draining is None:
            self._drain("USR2", "draining: running tasks may end, no more are started")
        if (unfit := self._slots.workers.unfit) is not None and self._draining is None:
            self._observer.warn(f"no worker can be had: {unfit}")
            self._drain("no worker", "no more tasks are started; what is left stays in the list")
        if asked.stop is not None and self._stopping is None:
            self._stopping = asked.stop
            grace = f" (up to {format_duration(self._rules.grace)}; a second signal skips that)"
            words = f"stopping ({asked.stop}): running tasks go back to the list{grace if self._slots.running else ''}"
            self._mark(f"stop ({asked.stop})", words)
            self._slots.sentence_all(Outcome.STOPPED)
            self._settling.stop(now)
        if asked.hurry and self._hurried_at is None:
            self._hurried_at = now
            self._children.hurry()

    def _drain(self, reason: str, words: str) -> None:
        self._draining = reason
        self._settling.forget_retries()
        self._mark(f"drain ({reason})", words)

    def _mark(self, reason: str, words: str) -> None:
        self._visits.instants.append(timeline.instant_event(reason, time.time(), self._own.lane))
        self._observer.say(words)

    def _suspend(self) -> None:
        began = time.monotonic()
        self._children.signal_all(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._children.signal_all(signal.SIGCONT)
        self._slots.forgive(time.monotonic() - began)

    @property
    def _closing(self) -> bool:
        return bool(self._stopping or self._draining or self._nothing_fits or self._visits.given_up)

    def _need(self) -> Need:
        at_rest = not self._slots.running and self._settling.in_doubt_until is None
        waits = bool(self._visits.queue or self._settling.retry_at or self._slots.filing.no_room)
        return Need(self._slots.free, at_rest, waits, self._closing)

    def _pause(self) -> float:
        """Return for how many seconds nothing needs to be done unless something happens."""
        now = time.monotonic()
        moments = [
            now + 1.0, self._slots.next_event(), self._visits.due(self._need()), self._settling.in_doubt_until,
        ]  # fmt: skip
        if self._feed is not None:
            moments.append(self._feed.due())
        if self._slots.free and not (self._closing or self._visits.in_trouble):
            moments.append(now if self._visits.queue else self._settling.retry_at)
        if self._stopping is None:
            moments.append(self._rules.deadline.at)
        return max(0.0, min(moment for moment in moments if moment is not None) - now)

    # -- ends

    def _take_in(self, ready: list[int], now: float) -> None:
        ended = list(self._slots.ended(ready))
        no_room = self._slots.filing.no_room
        if no_room is not None and no_room is not self._told_no_room:
            self._told_no_room = no_room
            self._visits.trouble(no_room)
        if no_room is not None and self._closing:
            ended += self._slots.filing.surrender()
        self._settling.take_in(ended, now)
        most = self._rules.max_fails
        if most is not None and self.failed >= most and not self._closing and self._has_more():
            self._drain(f"--max-fails {most}", "too many tasks have failed: running tasks may end, no more are started")
        self._slots.tend(now)

    @property
    def failed(self) -> int:
        """How many tasks have failed for good, those before an eviction included."""
        return self._failed_earlier + self._tally.failed

    def _has_more(self) -> bool:
        return bool(self._visits.queue or self._settling.retry_at or self._books.waiting())

    # -- starts

    def _hand_out(self, now: float) -> None:
        """Choose tasks for the free slots, note ends and starts with one write, then start them."""
        chosen: list[Place] = []
        while self._slots.free:
            following = self._next_task(now)
            if following is None:
                break
            chosen.append(Place(*following, self._slots.take()))
            self._own.start(*chosen[-1])
        try:
            self._own.flush()
        except OSError as error:
            if not self._visits.in_trouble:  # else the visits, which try the same, count failures
                self._visits.trouble(error)
        for place in chosen:
            self._start(place)

    def _next_task(self, now: float) -> tuple[Task, int] | None:
        queue = self._visits.queue
        retry = self._settling.retry_at is not None and self._settling.retry_at <= now
        if self._closing or self._visits.in_trouble or not (retry or queue):
            return None
        if self._tally.started and not self._rules.deadline.fits(now, self._pace.typical):
            self._nothing_fits = True
            self._settling.forget_retries()
            return None
        if retry:
            return self._settling.next_retry()
        return queue.popleft(), 1

    def _start(self, place: Place) -> None:
        try:
            # Opened last: every process that is being started has a copy of it until it executes.
            output = self._logs.open(place.task.id, place.slot)
        except OSError as error:
            self._put_off(place)
            self._visits.trouble(error)
            return
        context = TaskContext(place.slot, place.attempt, self._books.layout.root, self._environment_of(place))
        try:
            self._start_attempt(self._slots, place, context, output)
        except CannotStart as error:
            for failed, _ in self._slots.fail(place, error.reason, error.command, context.environment):
                self._settling.settle(failed)
        except Unfit:
            self._put_off(place)
        except OSError as error:
            self._put_off(place)
            self._visits.trouble(error)
        else:
            self._tally.started += 1
            self._visits.went_well()

    def _put_off(self, place: Place) -> None:
        """Let a task wait a little, for a reason that is not its own."""
        self._slots.release(place.slot)
        self._own.unstart(place.task)
        if place.attempt == 1:
            self._visits.queue.appendleft(place.task)
        else:
            self._settling.put_off(place.task, place.attempt)

    def _environment_of(self, place: Place) -> dict[str, str]:
        number = str(place.task.id)
        return {
            **self._environments[place.slot // self._concurrency % len(self._environments)],
            "PROC_NUMBER": number,
            process.TASK_MARK: number,
            "PYTASKFARMER_SLOT": str(place.slot),
            "PYTASKFARMER_ATTEMPT": str(place.attempt),
        }

    # -- house-keeping and the end

    def _keep_house(self, now: float) -> None:
        if now - self._last_beat > HEARTBEAT:
            self._last_beat = now
            with contextlib.suppress(OSError):  # the next section's fence knows what it means
                self._books.life.beat()
        self._visits.sync(now, self._results)
        if now - self._last_look >= 0.1:
            self._last_look = now
            if not self._children.lingering:
                process.reap_strays(self._children.leaders)
            tally = self._tally
            tally.running, tally.held = self._slots.running, self._own.count
            tally.waiting, tally.company = self._books.waiting(), self._visits.leaving.company
            tally.in_trouble = self._visits.in_trouble
            tally.tasks = self._books.register.tasks
            if tally.company or (self._books.others_came and self._feed is None):
                tally.before = None  # what others did in the meantime is not known any more
            self._observer.tick(tally)

    def _dismiss_workers(self, signals: Signals) -> None:
        """Let the warm workers end by themselves, for up to the grace."""
        self._slots.workers.dismiss(self._rules.grace)
        ready: list[int] = []
        while True:
            for _ in self._slots.ended(ready):
                pass
            if not self._slots.workers.busy or self._children.stuck(time.monotonic()):
                return
            self._children.tend(time.monotonic())
            self._obey(signals, time.monotonic())
            moment = self._children.next_event()
            pause = 1.0 if moment is None else max(0.0, min(moment - time.monotonic(), 1.0))
            ready = [descriptor for descriptor, _ in self._poll.poll(pause)]

    def _has_no_strays(self) -> bool:
        return process.no_strays(self._children.leaders)

    def _summary(self, seconds: float) -> Summary:
        tally, leaving, layout = self._tally, self._visits.leaving, self._books.layout
        tally.tasks, tally.running, tally.held = self._books.register.tasks, 0, self._own.count
        stopped_by = self._stopping or self._draining
        census, exact = leaving.census, True
        if census is not None:
            finished, failed, left = census.finished, census.failed, census.held + census.waiting
        else:
            # Counted only where the exit status depends on it: a thousand farmers may leave at once.
            exact = bool(stopped_by or not leaving.company)
            failed = records.count(layout.failed)
            finished = records.count(layout.finished) if exact else self._books.recorded()
            left = tally.tasks - finished - failed if exact else self._books.waiting()
        failures = tuple(self._settling.failures.values())
        return Summary(
            tally, seconds, self._slots.busy_seconds, failures, finished, failed, left, exact,
            leaving.company, left if self._nothing_fits else 0, stopped_by, claims_left=self._own.count > 0,
            unfit=self._slots.workers.unfit is not None,
        )  # fmt: skip


def _of_workers(runner: Runner | WorkerRunner) -> tuple[int, int | None]:
    """Return concurrency and most tasks of the workers, as far as there are any."""
    return getattr(runner, "concurrency", 1), getattr(runner, "max_tasks", None)


def _common_environment(environment: Mapping[str, str], books: Books, deadline: Deadline) -> dict[str, str]:
    """Return what all tasks of this farmer have in their environment."""
    common = {
        **environment,
        process.FARMER_MARK: books.own.farmer.name,
        "PYTASKFARMER_WORKDIR": books.layout.root,
    }
    if deadline.at is not None:
        common["PYTASKFARMER_DEADLINE"] = str(int(time.time() + deadline.at - time.monotonic()))
    return common
