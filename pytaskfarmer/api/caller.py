"""What `Pool` and `Executor` share: a work directory, a farm that works on it, and jobs by number."""

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pytaskfarmer.api import heritage, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.host import PRIVATE, SHARED, Options
from pytaskfarmer.api.session import Farm, Session
from pytaskfarmer.errors import UsageError

MOST_WORKERS = 10_000
_AHEAD = 4  # farmers of other nodes learn only now and then that there is more to do


class Cluster(Protocol):
    """Where farmers can be started other than on this node."""

    @property
    def expected(self) -> int:
        """About how many calls run at a time when all farmers run."""
        ...

    def start(self, options: Options) -> Farm:
        """Start farmers of the work directory `options.root`, `options.slots` workers each if that is above 0."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """How the calls are to be made; see `Pool`."""

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


class Caller:
    """One opened work directory with a farm on it. Raises `UsageError` for a wish that makes no sense.

    The farm ends at the latest when this object, or the interpreter, does.
    """

    def __init__(self, wish: Wish) -> None:
        _check(wish)
        self.workers = wish.cluster.expected if wish.cluster else wish.workers or len(os.sched_getaffinity(0))
        self.keeps = wish.workdir is not None if wish.keep is None else wish.keep
        self.root = _directory(wish)
        desk = Desk(self.root)
        for path in (desk.calls, desk.list, desk.jobs):
            open(path, "ab").close()
        self.session = Session(desk, ahead=self.workers * (_AHEAD if wish.cluster else 1), echo=wish.echo)
        self._end = weakref.finalize(self, _stop, self.session, None if self.keeps else self.root)
        try:
            self._begin(wish)
        except BaseException:
            self.close(at_once=True)
            raise

    def _begin(self, wish: Wish) -> None:
        first = (wish.initializer, wish.initargs) if wish.initializer else None
        if wish.workdir is None and wish.cluster is None:
            first = heritage.bequeath(first)  # a secret: into a directory that no other user may read
        initializer = None
        if first is not None:
            initializer = self.session.pack(travel.pack(first, "the initializer, or one of its arguments,"))
            self.session.flush()
        options = Options(
            self.root,
            wish.workers or (0 if wish.cluster else self.workers),
            tuple(map(str, sys.path)),
            SHARED if wish.cluster else PRIVATE,
            initializer,
            wish.seed,
            wish.max_tasks,
            wish.timeout,
            passing=not (self.keeps or wish.cluster),
        )
        self.session.begin(wish.cluster.start(options) if wish.cluster else _local(options))

    def close(self, *, at_once: bool = False) -> None:
        """End the farm, and remove the work directory if it is not to be kept; not in a process that was forked."""
        if not at_once and self._end.alive and self.session.is_ours:
            self.session.finish()
        self._end()


def _stop(session: Session, passing: str | None) -> None:
    if session.is_ours:
        session.stop()
        if passing is not None:
            shutil.rmtree(passing, ignore_errors=True)


def _local(options: Options) -> Farm:
    from pytaskfarmer.api.local import LocalFarm

    return LocalFarm(options)


def _check(wish: Wish) -> None:
    if wish.workers is not None and not 1 <= wish.workers <= MOST_WORKERS:
        raise UsageError(f"{wish.workers} workers: there must be at least 1, and at most {MOST_WORKERS:,}.")
    if wish.max_tasks is not None and wish.max_tasks < 1:
        raise UsageError(f"a worker cannot be replaced after {wish.max_tasks} tasks; at least 1.")
    if wish.initializer is not None and not callable(wish.initializer):
        raise TypeError("the initializer must be callable")
    if wish.timeout is not None and wish.timeout <= 0:
        raise UsageError(f"a timeout of {wish.timeout:g} s leaves no time; it must be above 0.")


def _directory(wish: Wish) -> str:
    if wish.workdir is None:
        return tempfile.mkdtemp(prefix="pytaskfarmer-", dir=os.getcwd() if wish.cluster else None)
    root = os.path.abspath(wish.workdir)
    os.makedirs(root, exist_ok=True)
    if os.listdir(root) and not os.path.exists(Desk(root).jobs):
        raise UsageError(f"{root}: is not empty, and holds no calls; name another directory.")
    return root
