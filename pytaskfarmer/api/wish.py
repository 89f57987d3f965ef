"""How calls are to be made, as the caller of `Pool` or `Executor` has said it."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from pytaskfarmer.api.places import Cluster
from pytaskfarmer.errors import UsageError

MOST_WORKERS = 10_000


def whole(value: object, what: str) -> int:
    """Return a whole number as an int, also one of numpy's. Raises TypeError."""
    try:
        return operator.index(value)  # type: ignore[arg-type] # that is what we ask
    except TypeError:
        raise TypeError(f"{what} must be a whole number, not {value!r}") from None


def number(value: object, what: str) -> float:
    """Return a number as a float, also one of numpy's. Raises TypeError."""
    if not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, not {value!r}")
    return float(value)


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
        for name, what in (
            ("workers", "the number of workers"),
            ("max_tasks", "the number of tasks after which a worker is replaced"),
            ("seed", "the seed"),
        ):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole(value, what))
        if self.timeout is not None:
            object.__setattr__(self, "timeout", number(self.timeout, "the timeout"))
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
