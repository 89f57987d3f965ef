"""What the script of a batch job becomes: it starts the farmers, passes signals on, and judges how the list stands.

The exit status of a job is what other jobs are chained on, so it must tell of the list and not of one process: a
farmer may be killed, and the others finish its tasks; `srun` reports the worst of them. So the books have the last
word.

A chain is a row of jobs that were all submitted at once, each of which waits for the end of the one before it, however
that ended. So nothing that happens to a job, its node or its script can break the chain, and a site that forbids
submitting from within jobs is no obstacle. What remains to be done is to end it early, which needs no luck: a job that
finds the list done, or that nothing has ended in its time, cancels the jobs after it. If it was killed before it could,
the next one looks first, and does the same; one that gets a TERM leaves it to the next one, too, since Slurm may be
about to run it again, as after a preemption. A chain also ends where its last job was cancelled, as far as the batch
system still knows that: cancelling all of it is for `pytaskfarmer cancel`.

Others may wait for a chain, and then for its last job, since nobody knows beforehand which one will end the list. So of
a chain whose list is done the last job stays: it starts no farmer, and ends at once with the status of the list. Where
it does not make sense to go on, it is cancelled like the others: nothing that waits for a success is to start.

Running again by requeue needs a living leader at the end of the allocation. Farmers stop before it, so there is one,
unless the batch system does not tell when the end is. After a TERM the batch system is ending the job for a reason that
only it knows, and it is not asked to run it again. How often a job has run already is counted by the notes of its
beginnings: Grid Engine only tells whether it is the first time.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytaskfarmer.cluster import notes
from pytaskfarmer.cluster.contract import BatchError, Engine, State
from pytaskfarmer.workdir import claims, records, register, roster
from pytaskfarmer.workdir.layout import Layout

DONE, SOME_FAILED, WRONG_USE, WORK_LEFT = 0, 1, 2, 3
_LIST_DONE = "the list is done"
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PASSED_ON = {*_ENDING, signal.SIGUSR1, signal.SIGUSR2}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a list stands: its tasks (None: not read yet), and how many of them have finished and failed.

    `noted` have ended, too, but only their farmer has noted that so far; if it is dead, the next one records them.
    """

    tasks: int | None
    finished: int
    failed: int
    noted: int = 0

    @property
    def ended(self) -> int:
        """The tasks that will not run again."""
        return self.finished + self.failed + self.noted

    @property
    def done(self) -> bool:
        """Whether nothing is left, and all is recorded."""
        return self.tasks is not None and self.finished + self.failed >= self.tasks

    def judge(self, status: int) -> int:
        """Return the exit status of a job whose farmers ended with `status`.

        Of farmers that left with 0 or 1 while tasks remain, it is known that farmers of other jobs have those.
        """
        if self.done:
            return SOME_FAILED if self.failed else DONE
        return status if status in {DONE, SOME_FAILED, WRONG_USE} else WORK_LEFT


def standing(layout: Layout) -> Standing:
    """Read how the list stands, without a lock."""
    known = register.read(layout)
    tasks = known.tasks if known is not None and known.complete else None
    noted = sum(len(claims.read(layout.claim(name)).ended) for name in roster.names(layout))
    return Standing(tasks, records.count(layout.finished), records.count(layout.failed), noted)


class Leader:
    """The leader of one job; `allocations` is in how many of them, one after the other, it may run by requeue.

    `start` runs the farmers and returns what `run` does.
    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        job: str,
        allocations: int = 1,
        start: Callable[[Sequence[str]], tuple[int, bool]] | None = None,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._job = job
        self._allocations = allocations
        self._start = start or run

    def run(self, argv: Sequence[str]) -> int:
        """Run the farmers, if it makes sense, and return the job's exit status."""
        before = standing(self._layout)
        if reason := self._reason_to_end(before):
            self._end_chain(reason, done=before.done)
            return before.judge(WORK_LEFT)
        notes.prepare(self._layout)
        notes.began(self._layout, self._job, before.ended)
        status, told_to_end = self._start(argv)
        after = standing(self._layout)
        verdict = after.judge(status)
        if verdict == WRONG_USE:
            self._end_chain("the farmers cannot start")
        elif after.done:
            self._end_chain(_LIST_DONE, done=True)
        elif after.ended <= before.ended and not told_to_end:
            self._end_chain("no task has ended in this job")
        elif verdict == WORK_LEFT and not told_to_end and self._may_run_again():
            return self._requeue(verdict)
        return verdict

    def _reason_to_end(self, now: Standing) -> str:
        """Say why a job that follows another one has nothing to do, if so."""
        known = notes.read(self._layout)
        mine = known.jobs.get(self._job)
        if mine is None or not mine.follows:
            return ""
        if now.done:
            return _LIST_DONE
        if State.CANCELLED in self._engine.states(mine.follows).values():
            return f"job {mine.follows[-1]} was cancelled"
        if any(now.ended <= known.ended_before.get(job, -1) for job in mine.follows):
            return f"no task has ended in job {mine.follows[-1]}"
        return ""

    def _end_chain(self, reason: str, *, done: bool = False) -> None:
        """Cancel the jobs after this one; if the list is `done`, all but the last one, which others may wait for."""
        followers = notes.read(self._layout).followers(self._job)
        states = self._engine.states(followers)
        if done and followers and states[last := followers.pop()] is State.PENDING:
            self._engine.shorten(last)
        waiting = [job for job in followers if states[job] in {State.PENDING, State.HELD}]
        if not waiting:
            return
        _say(f"{reason}: jobs after this one are cancelled: {' '.join(waiting)}")
        try:
            self._engine.cancel(waiting)
        except BatchError as error:
            _say(str(error))

    def _may_run_again(self) -> bool:
        return notes.read(self._layout).begun[self._job] < self._allocations

    def _requeue(self, verdict: int) -> int:
        try:
            status = self._engine.requeue(self._job)
        except BatchError as error:
            _say(str(error))
            return verdict
        _say("work is left: this job is to run again")
        return verdict if status is None else status


def run(argv: Sequence[str]) -> tuple[int, bool]:
    """Run a command, pass on what signals come, and return its exit status and whether we were told to end.

    The signals stay blocked, so that none interrupts what is left to do.
    """
    told_to_end = False
    sys.stdout.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    try:
        child = os.posix_spawnp(argv[0], list(argv), os.environ, setsigmask=before)
    except OSError as error:
        _say(f"{argv[0]}: {error.strerror}")
        return WRONG_USE, False
    while True:
        number = signal.sigwait({*_PASSED_ON, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            told_to_end |= number in _ENDING
            os.kill(child, signal.SIGTERM if number in _ENDING else number)  # `srun` only counts its INT
            continue
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return (code if code >= 0 else 128 - code), told_to_end


def _say(line: str) -> None:
    print(f"pytaskfarmer: {line}", file=sys.stderr, flush=True)
