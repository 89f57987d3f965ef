"""How calls are to be made, as the caller of `Pool` or `Executor` has said it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytaskfarmer.api.places import Cluster
from pytaskfarmer.errors import UsageError

MOST_WORKERS = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """See `Pool`. Raises TypeError and `UsageError`, which is a ValueError, for what makes no sense."""

    workers: int | None = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    max_tasks: int | None = None
    cluster: Cluster | None = None
    workdir: str | None = None
    keep: bool | None = None
    timeout: float | None = None
    seed: int | None = None
    echo: bool = True

    def __post_init__(self) -> None:
        for name, value, kind in (
            ("number of workers", self.workers, int),
            ("number of tasks after which a worker is replaced", self.max_tasks, int),
            ("timeout", self.timeout, int | float),
            ("seed", self.seed, int),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"the {name} must be a number, not {value!r}")
        if self.workdir == "":
            raise UsageError("workdir='': name a directory, or leave it out.")
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"{self.workers} workers: there must be at least 1, and at most {MOST_WORKERS:,}.")
        if self.max_tasks is not None and self.max_tasks < 1:
            raise UsageError(f"a worker cannot be replaced after {self.max_tasks} tasks; at least 1.")
        if self.initializer is not None and not callable(self.initializer):
            raise TypeError(f"the initializer must be callable, and {self.initializer!r} is not")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"a timeout of {self.timeout:g} s leaves no time; it must be above 0.")
        if self.cluster is not None and (isinstance(self.cluster, type) or not hasattr(self.cluster, "start")):
            raise TypeError(f"cluster={self.cluster!r}: write Slurm(...) or GridEngine(...)")
