"""What a worker of the pool does: it reads the events for its first task, and keeps them for the others."""

import os
import time
from functools import cache
from pathlib import Path

from balance import Turn
from results import Loaded, Result

_load = cache(Loaded)


def scan_part(path: Path, n_cuts: int, settings: tuple[int, int]) -> tuple[Result, Turn]:
    """Scan the settings that are given by first and count. Raises DatasetError, OSError."""
    start = time.perf_counter()
    part = _load(path, n_cuts).scan(*settings)
    return part, Turn(os.getpid(), 1000 * (time.perf_counter() - start))


def nap(milliseconds: int) -> Turn:
    """Sleep."""
    time.sleep(milliseconds / 1000)
    return Turn(os.getpid(), milliseconds)
