"""A task list, its work directory, and real farmers on it: started, watched, killed and counted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import claims, records, roster
from pytaskfarmer.workdir.claims import Claims
from pytaskfarmer.workdir.layout import Layout

COMMAND = (sys.executable, "-m", "pytaskfarmer", "run")


class Mark(Protocol):
    """What all processes of a test carry in their environment: see `mark` in the outer `conftest.py`."""

    def living(self) -> list[int]:
        """Return their pids."""
        ...


class Started:
    """One farmer: `guard` is the process that was started, the leader of a session and group of its own."""

    def __init__(self, arguments: Sequence[str], cwd: Path, output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.guard = subprocess.Popen(
                arguments,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything that it has printed so far, errors too."""
        return self._output.read_text(errors="replace")

    @property
    def farmer(self) -> int | None:
        """The pid of the process that runs the tasks; None before it exists, and when it is dead."""
        group = self.guard.pid
        for pid in _children(group):
            # The farmer leads a group in the guard's session; tasks lead sessions of their own.
            if _stat(pid)[2:4] == [str(pid), str(group)]:
                return pid
        return None

    def signal(self, number: int) -> None:
        """Send a signal to the guard, as a batch system or a terminal would."""
        self.guard.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        """Return the exit status."""
        try:
            return self.guard.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s; it said: {self.output}") from None

    def over(self) -> bool:
        """Whether it has exited."""
        return self.guard.poll() is not None


class Farm:
    """One task list with its work directory, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.list = directory / "tasks.txt"
        self.workdir = directory / "tasks.txt_workdir"
        self.layout = Layout(str(self.workdir))
        self.started: list[Started] = []

    def write(self, tasks: Sequence[str]) -> None:
        """Write the list; task i is line i."""
        self.list.write_text("".join(f"{task}\n" for task in tasks))

    def start(self, *options: str) -> Started:
        """Start a farmer in the list's directory, and go on."""
        output = self.directory / f"farmer-{len(self.started)}.out"
        self.started.append(Started([*COMMAND, *options, self.list.name], self.directory, output))
        return self.started[-1]

    def run(self, *options: str, seconds: float = 30) -> int:
        """Run a farmer to its end and return its exit status."""
        return self.start(*options).wait(seconds)

    def end(self) -> None:
        """Kill every farmer that still runs, and what it runs."""
        for started in self.started:
            if not started.over() and (farmer := started.farmer) is not None:
                os.kill(farmer, signal.SIGKILL)
        for started in self.started:
            if not until(lambda: started.signal(signal.SIGCONT) or started.over(), 5):  # noqa: B023
                started.guard.kill()
            started.guard.wait()

    # -- what the files say

    def ids(self, book: str) -> list[int]:
        """Return the ids in `toprocess`, `finished`, `failed` or `interrupted`, in the file's order."""
        return list(records.ids(str(self.workdir / book)))

    def farmers(self) -> list[str]:
        """Return the names of those who have a claims file."""
        return roster.names(self.layout)

    def claims(self, farmer: str) -> Claims:
        """Return what one farmer has noted."""
        return claims.read(self.layout.claim(farmer))

    def name_of(self, started: Started) -> str | None:
        """Return the name under which a living farmer is registered, or None: not yet, or no more."""
        pid = started.farmer
        return next((name for name in self.farmers() if pid is not None and f"-{pid}-s" in name), None)

    def timeline(self) -> list[dict[str, Any]]:
        """Return all events; fails where the file is not valid JSON."""
        events: list[dict[str, Any]] = json.loads(Path(self.layout.timeline).read_bytes())
        return events

    def succeeded(self) -> set[int]:
        """Return the ids that the timeline has a success of."""
        bars = [event for event in self.timeline() if event.get("cat") == "task"]
        return {bar["args"]["id"] for bar in bars if bar["args"]["outcome"] == Outcome.SUCCESS.value}

    def balance(self, tasks: int, *books: str) -> None:
        """Assert that each id is exactly once in the books (all three, unless named), and nobody holds anything."""
        found = Counter(i for book in books or ("toprocess", "finished", "failed") for i in self.ids(book))
        wrong = {i: count for i, count in found.items() if count != 1 or i >= tasks}
        missing = sorted(set(range(tasks)) - found.keys())
        assert ({}, [], []) == (wrong, missing, self.farmers()), "doubles, missing, claims left"
        assert self.succeeded() >= set(self.ids("finished"))


def until(condition: Callable[[], object], seconds: float, pause: float = 0.002) -> bool:
    """Return whether the condition came to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def _children(pid: int) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _stat(int(name))[1:2] == [str(pid)]]


def _stat(pid: int) -> list[str]:
    """Return state, parent, group, session ... of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
