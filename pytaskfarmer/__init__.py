"""Run a list of tasks on many slots, many nodes and through any death, with files as the only server.

From Python, `Pool` takes the calls of `multiprocessing.Pool` and `Executor` is a `concurrent.futures.Executor`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytaskfarmer.api.executor import Executor as Executor
    from pytaskfarmer.api.jobs import GridEngine as GridEngine
    from pytaskfarmer.api.jobs import Slurm as Slurm
    from pytaskfarmer.api.pool import Pool as Pool

__version__ = "1.0.0"

_here = os.path.dirname(__file__)
if not os.path.isdir(os.path.join(_here, "runners")):  # a checkout, where runners and handlers are beside this folder
    __path__.append(os.path.dirname(_here))

_PUBLIC = {
    "Executor": "pytaskfarmer.api.executor",
    "Pool": "pytaskfarmer.api.pool",
    "Slurm": "pytaskfarmer.api.jobs",
    "GridEngine": "pytaskfarmer.api.jobs",
    "WorkerDied": "pytaskfarmer.api.faults",
    "CannotTravel": "pytaskfarmer.api.faults",
    "RemoteError": "pytaskfarmer.api.faults",
    "BrokenPool": "pytaskfarmer.api.faults",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    """Import what is for Python callers when it is asked for: the commands need none of it."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
