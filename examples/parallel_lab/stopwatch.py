"""How the problems measure: pools whose workers have started, and the seconds of one call."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

CPUS = len(os.sched_getaffinity(0))

Value = TypeVar("Value")


def clocked(function: Callable[[], Value]) -> tuple[float, Value]:
    """Return the seconds that a call took, and its value."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


@contextmanager
def started(pool: Any, workers: int, function: Callable[[Any], Any], item: Any) -> Iterator[Any]:
    """Lend this pool, and end it afterwards.

    Before, each worker calls the function with the item, so what is measured then is not its start and its imports.
    """
    with pool:
        pool.map(function, [item] * workers, 1)
        yield pool
        pool.close()
        pool.join()
