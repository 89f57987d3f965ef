"""The process that farms for a caller: `python -m pytaskfarmer.api.host OPTIONS` (JSON).

The caller appends to the list of calls and says so on our standard input; we say on standard output, by a byte, that a
call has ended, whose result is then in the work directory. When the caller dies, its end of the lifeline closes, and
the farmer stops.
"""

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from pytaskfarmer import allocation
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.cluster import contract
from pytaskfarmer.errors import FarmError
from pytaskfarmer.farm.deadline import Deadline
from pytaskfarmer.farm.feeding import Feed
from pytaskfarmer.farm.guard import GuardLink, under_guard
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.watching import Tally
from pytaskfarmer.farm.working import Work, work
from pytaskfarmer.plugins import registry
from pytaskfarmer.plugins.contracts import Command, TaskContext, Tasklist
from pytaskfarmer.task import Attempt, Task
from pytaskfarmer.workdir.opening import Opened, Wish
from pytaskfarmer.workdir.source import Source
from pytaskfarmer.worker import command as worker_command

PRIVATE, SHARED = "private", "shared"
"""A work directory of one farmer, whose caller is on this node; or one of several farmers."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller wants. `root` is the work directory; times are in seconds; 0 slots are as many as there are CPUs.

    Workers have the caller's `sys.path`, its `sys.argv`, which lies in the file of calls, and flags of its interpreter.

    A farm that is `passing` removes its work directory if the caller dies. `linger` is for how long a farmer of a
    shared directory stays without tasks.
    """

    root: str
    slots: int
    path: tuple[str, ...]
    argv: tuple[int, int]
    flags: tuple[str, ...] = ()
    kind: str = PRIVATE
    initializer: tuple[int, int] | None = None
    seed: int | None = None
    max_tasks: int | None = None
    timeout: float | None = None
    grace: float = 2.0
    linger: float = 10.0
    passing: bool = False
    allow_local: bool = False


class Calls:
    """The runner: each task is a slice of the file of calls."""

    concurrency = 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self.max_tasks = options.max_tasks

    def worker(self, context: TaskContext) -> Command:
        """Return the process that calls."""
        options = self._options
        command = worker_command(
            "pytaskfarmer.api.callee:Callee",
            {
                "root": options.root,
                "path": options.path,
                "argv": options.argv,
                "initializer": options.initializer,
                "seed": options.seed,
            },
        )
        return replace(command, argv=(command.argv[0], *options.flags, *command.argv[1:]))

    def request(self, task: Task, context: TaskContext) -> bytes:
        """Return the task's text, which says it all."""
        return task.text.encode()


class _Caller:
    """The observer: tells a caller on this node that something has ended."""

    def __init__(self, *, here: bool) -> None:
        self._here = here

    def begin(self, opened: Opened, rules: Rules, logs: str) -> None:
        """Nothing to tell."""

    def tick(self, tally: Tally) -> None:
        """Nothing to tell."""

    def ended(self, attempt: Attempt) -> None:
        """Tell."""
        if not self._here:
            return
        try:
            os.write(1, b".")
        except (BlockingIOError, BrokenPipeError):
            pass  # it has not read what we said before, or is gone

    def say(self, line: str) -> None:
        """Leave it in the log of the farm."""
        print(line, file=sys.stderr, flush=True)

    warn = say


def main() -> int:
    """Farm until the caller is done or gone."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    options = Options(**wanted)
    desk = Desk(options.root)
    private = options.kind == PRIVATE
    feed = Feed(desk.list, 0 if private else None, options.linger)
    if private:
        os.set_blocking(1, False)
    source = Source(Tasklist(desk.list, options.root, growing=True), registry.Registry.read().handler("lines"), "lines")
    batch = contract.surroundings(os.environ)
    slots = min(options.slots or allocation.cpus(batch, os.sched_getaffinity(0)), allocation.most_slots(1))
    wish = Wish(
        slots=slots,
        allocation="" if private else batch.identity,
        many_nodes=batch.in_step_of_several_nodes and not (private or options.allow_local),
        durable=not options.passing,
    )
    deadline = Deadline() if private else _deadline(contract.end_time(batch), options.grace)
    rules = Rules(slots=slots, deadline=deadline, task_timeout=options.timeout, grace=options.grace)
    wanted_work = Work(desk.layout, source, Calls(options), rules, wish, "pack", feed)

    def farm(guard: GuardLink) -> int:
        try:
            status = work(wanted_work, _Caller(here=private), dict(os.environ), guard).exit_status
        except FarmError as error:
            words = str(error).replace("--workdir", "workdir").replace("--allow-local", "allow_local=True")
            print(f"pytaskfarmer: error: {words}", file=sys.stderr, flush=True)
            return 2
        if feed.caller_has_died and options.passing:
            shutil.rmtree(options.root, ignore_errors=True)
        return status

    return under_guard(farm)


def _deadline(end: float | None, grace: float) -> Deadline:
    """Return when to stop, so that there is time for it before the allocation ends."""
    if end is None:
        return Deadline()
    return Deadline(time.monotonic() + max(0.0, end - time.time() - grace - 5.0), "the end of the allocation")


if __name__ == "__main__":
    sys.exit(main())
