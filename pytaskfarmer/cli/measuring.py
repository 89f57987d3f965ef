"""The runs of a scaling study: one list, again and again, each time whole and in a fresh work directory."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pytaskfarmer.cli.timing import Clock
from pytaskfarmer.cluster import batch
from pytaskfarmer.durations import format_duration
from pytaskfarmer.errors import UsageError, WorkdirError
from pytaskfarmer.views.scaling import Timing
from pytaskfarmer.views.scaling_table import Study, Table
from pytaskfarmer.views.words import count
from pytaskfarmer.views.words import place as short
from pytaskfarmer.workdir import records, timeline
from pytaskfarmer.workdir.layout import Layout


@contextmanager
def place(workdir: str | None, tasklist: str, *, spooled: bool) -> Iterator[str]:
    """Give the directory for the work directories: `workdir`, or one beside the list or, if that is spooled, here.

    The latter is removed again if nothing is left in it. Raises `WorkdirError` where `workdir` is not empty.
    """
    if workdir is not None:
        os.makedirs(workdir, exist_ok=True)
        if os.listdir(workdir):
            raise WorkdirError(f"{workdir}: is not empty, and the work directories must be fresh; name another one.")
        yield os.path.abspath(workdir)
        return
    folder, name = (os.getcwd(), "pytaskfarmer") if spooled else os.path.split(tasklist)
    directory = tempfile.mkdtemp(prefix=f"{name}_scale.", dir=folder)
    try:
        yield directory
    finally:
        if not os.listdir(directory):
            os.rmdir(directory)


@dataclass
class Runs:
    """The runs of a study; those that count are in `timings` and, each as soon as it has ended, in the table.

    `prepare` is run by bash before each of them. Work directories are made in `directory`, and removed after runs
    that have succeeded or were stopped, unless they are to be kept.
    """

    study: Study
    table: Table
    tasklist: str
    options: Sequence[str]
    prepare: str | None
    directory: str
    keep: bool
    timings: list[Timing] = field(default_factory=list)

    def all(self, plan: Sequence[tuple[int, int]]) -> int:
        """Run the list for each pair of repeat (0: to warm up) and workers; return the exit status of the study."""
        failed: set[int] = set()
        with Clock() as clock:
            for number, (repeat, workers) in enumerate(plan, 1):
                if workers in failed:
                    continue
                warming = "" if repeat else ", to warm up"
                who = f"run {number} of {len(plan)}: {count(workers, 'worker')}{warming}"
                status = self._one(clock, who, repeat, workers)
                if status > 1:
                    return status
                if status and not self.timings:
                    print("pytaskfarmer: stopped: mend the list first", flush=True)
                    return 1
                if status:
                    failed.add(workers)
        return 1 if failed else 0

    def _one(self, clock: Clock, who: str, repeat: int, workers: int) -> int:
        """Run the list once and say how it ended: 0, 1 if tasks have failed, 2 for an error, 3 if it was stopped."""
        layout = Layout(os.path.join(self.directory, f"{workers}_workers_{repeat or 'warm_up'}"))
        screen = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if screen:
            print(f"{who} ...", end="\r", flush=True)
        self._prepare(clock)
        began = datetime.now(UTC).astimezone()
        argv = (*batch.python("pytaskfarmer"), "run", f"--proc={workers}", "--workdir", layout.root, "--quiet")
        command = [*argv, *self.options, self.tasklist]
        status, seconds = (3, None) if clock.stopped() else clock.run(command, farmer=True)
        failed = sum(1 for _ in records.ids(layout.failed))
        if clock.stopped():
            status = 3
        elif status == 1 and not failed:
            status = 2  # what ended so was the farmer itself
        print("\x1b[2K" * screen + f"{who}: {self._ending(status, seconds, clock, layout, failed)}", flush=True)
        timing = None
        if status == 0 and repeat and seconds is not None:
            timing = Timing(workers, repeat, seconds, *_task_times(layout))
        if status != 1 and not self.keep:
            shutil.rmtree(layout.root, ignore_errors=True)
        if timing is not None:
            self.timings.append(timing)
            self.table.add(self.study.row(began, timing))
        return status if status in {0, 1, 3} else 2

    def _prepare(self, clock: Clock) -> None:
        if self.prepare is not None and not clock.stopped():
            status, _ = clock.run(["bash", "-c", self.prepare], farmer=False)
            if status and not clock.stopped():
                raise UsageError(f"--prepare {self.prepare!r}: failed with exit status {status}.")

    @staticmethod
    def _ending(status: int, seconds: float | None, clock: Clock, layout: Layout, failed: int) -> str:
        match status:
            case 0 if seconds is not None:
                return format_duration(seconds)
            case 0:
                return "was suspended, so its time does not count"
            case 1:
                see = f"pytaskfarmer status {short(layout.root)}"
                return f"{count(failed, 'task')} failed, so its time does not count: {see}"
            case 3:
                return f"stopped by {clock.stopped() or 'its farmer'}, so its time does not count"
        return "did not run"


def _task_times(layout: Layout) -> tuple[float, float]:
    """Return the sums of what all tasks took: wall-clock and CPU seconds."""
    bars = [event for event in timeline.read(layout.timeline) if event.get("ph") == "X"]
    return sum(bar["dur"] for bar in bars) / 1e6, sum(bar["args"]["cpu_seconds"] for bar in bars)
