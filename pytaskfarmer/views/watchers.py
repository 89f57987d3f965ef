"""Who watches a farmer for a person: a live line on a terminal, sparse plain lines elsewhere, or nobody."""

import contextlib
import os
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.watching import Summary, Tally
from pytaskfarmer.task import Attempt, Outcome
from pytaskfarmer.views import words
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import Opened

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_FIRST_LINE, _LONGEST_SILENCE = 10.0, 600.0
_LIVE_SPACING = 0.2
_FAILURES_SHOWN = 5


def choose(stream: TextIO, *, quiet: bool, verbose: bool) -> "Plain":
    """Return the watcher that fits the place where words go."""
    if quiet:
        return Quiet(stream)
    live = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Live(stream, verbose=verbose) if live else Plain(stream, verbose=verbose)


class Plain(AbstractContextManager["Plain"]):
    """Lines, fewer and fewer of them: after 10 s, 20 s, 40 s, then every ten minutes."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._begin = time.monotonic()
        self._spacing = _FIRST_LINE
        self._next = self._begin + _FIRST_LINE
        self._logs = "none"
        self._slots = 1

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def say(self, line: str) -> None:
        """Print a line."""
        self._print(f"pytaskfarmer: {line}")

    def warn(self, line: str) -> None:
        """Print a line on standard error, also if nothing else is wanted."""
        with contextlib.suppress(OSError):
            print(f"pytaskfarmer: {line}", file=sys.stderr, flush=True)

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed must not take the tasks with it
            print(line, file=self._stream, flush=True)

    def begin(self, opened: Opened, rules: Rules, logs: str) -> None:
        """Print the line at the start."""
        self._logs, self._slots = logs, rules.slots
        self._begin = time.monotonic()
        self._next = self._begin + self._spacing
        self.say(words.start_line(opened, rules, logs))
        if not opened.books.register.tasks:
            self.warn("the list has no tasks")

    def tick(self, tally: Tally) -> None:
        """Print a line of progress, if it is time for one."""
        now = time.monotonic()
        if now >= self._next:
            self._spacing = min(2 * self._spacing, _LONGEST_SILENCE)
            self._next = now + self._spacing
            self.say(words.progress_line(tally, now - self._begin))

    def ended(self, attempt: Attempt) -> None:
        """Print a line about it, if all are wanted."""
        if self._verbose:
            self.say(words.end_line(attempt))

    def summarise(self, summary: Summary, layout: Layout) -> None:
        """Print how it ended."""
        first, *others = words.summary_lines(summary, layout, self._logs, self._slots)
        self.say(first)
        for line in others:
            self._print(line)


class Quiet(Plain):
    """Nothing is said but warnings."""

    def _print(self, line: str) -> None:
        pass


class Live(Plain):
    """A line that changes in place, on a terminal. One that was closed is no reason to stop."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        from rich.console import Console

        super().__init__(stream, verbose=verbose)
        self._console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._next_drawing = 0.0
        self._failures_left = _FAILURES_SHOWN

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.stop()
            self._progress = None

    def _print(self, line: str, style: str | None = None) -> None:
        from rich.text import Text

        with contextlib.suppress(OSError):
            self._console.print(Text(line, style=style or ""))

    def warn(self, line: str) -> None:
        """Print a line; above the live one if both go to a terminal."""
        if sys.stderr.isatty():
            self._print(f"pytaskfarmer: {line}", style="yellow")
        else:
            super().warn(line)

    def begin(self, opened: Opened, rules: Rules, logs: str) -> None:
        """Print the line at the start, and the live line below it."""
        from rich.progress import BarColumn, Progress, TextColumn

        super().begin(opened, rules, logs)
        if self._progress is None:
            columns = BarColumn(bar_width=24), TextColumn("{task.fields[words]}", markup=False)
            self._progress = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
            self._bar = self._progress.add_task("", total=max(1, opened.books.register.tasks), words="")
            with contextlib.suppress(OSError):
                self._progress.start()

    def tick(self, tally: Tally) -> None:
        """Redraw, a few times a second."""
        now = time.monotonic()
        if now < self._next_drawing or self._progress is None or self._bar is None:
            return
        self._next_drawing = now + _LIVE_SPACING
        line = words.progress_line(tally, now - self._begin)
        with contextlib.suppress(OSError):
            self._progress.update(self._bar, completed=tally.tasks - words.left(tally), words=line, refresh=True)

    def ended(self, attempt: Attempt) -> None:
        """Print the first failures as they come, or every end if all are wanted."""
        failed = attempt.outcome not in {Outcome.SUCCESS, Outcome.STOPPED}
        self._failures_left -= failed
        if self._verbose or (failed and self._failures_left >= 0):
            self._print(f"pytaskfarmer: {words.end_line(attempt)}", style="red" if failed else None)
        elif failed and self._failures_left == -1:
            self.say("further failures are only counted; --verbose prints them")
