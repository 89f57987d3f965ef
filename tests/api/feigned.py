"""A batch system and a farm that do what a test says, and run nothing."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytaskfarmer.api.host import Options
from pytaskfarmer.cluster.contract import BatchError, Plan, State


@dataclass
class Batch:
    """A batch system whose jobs are what a test says; `gate` holds up each submission."""

    name: str = "batch"
    jobs: dict[str, State] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    submitting: threading.Event = field(default_factory=threading.Event)
    refuses: bool = False

    def render(self, plan: Plan) -> str:
        """Have no script."""
        return ""

    def submit(self, script: str, plan: Plan) -> tuple[str, ...]:
        """Let jobs run, once the gate is open."""
        self.submitting.set()
        self.gate.wait(20)
        if self.refuses:
            raise BatchError("sbatch refused the job: no more")
        new = tuple(str(len(self.jobs) + number) for number in range(plan.farmers))
        self.jobs.update(dict.fromkeys(new, State.RUNNING))
        return new

    def states(self, jobs: Sequence[str], patience: float = 0.0) -> dict[str, State]:
        """Tell what the test says."""
        return {job: self.jobs[job] for job in jobs}

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel at once."""
        self.cancelled += jobs
        self.jobs.update(dict.fromkeys(jobs, State.CANCELLED))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody asked for {name}")


class Slow:
    """A cluster that runs nothing, and after a word has room for more."""

    def __init__(self) -> None:
        self.ahead = 2
        self.outstanding: Callable[[], int] = lambda: 0
        self._woken = threading.Semaphore(0)
        self._goes_on = True

    def expected(self, wished: int | None) -> int:
        """Expect two."""
        return 2

    def start(self, options: Options) -> "Slow":
        """Be the farm as well."""
        self.list = Path(options.root) / "calls.list"
        return self

    def grow(self, ahead: int) -> None:
        """Have more room, and say so."""
        self.ahead = ahead
        self._woken.release()

    def poke(self) -> None:
        """Need no hint."""

    def wait(self) -> bool:
        """Wait for the test."""
        self._woken.acquire()
        return self._goes_on

    def stop(self) -> None:
        """End at once."""
        self._goes_on = False
        self._woken.release()

    finish = stop

    def close(self) -> None:
        """Hold nothing."""

    def complaint(self) -> str:
        """Have ended by a wish."""
        return "it was stopped"

    def listed(self) -> int:
        """Return how many slices are listed."""
        return self.list.read_text().count("\n")
