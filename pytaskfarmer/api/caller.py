"""What `Pool` and `Executor` share: a work directory, a farm that works on it, and jobs by number."""

import os
import pickle
import shutil
import sys
import tempfile
import weakref
from typing import NamedTuple

from pytaskfarmer.api import heritage, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.host import PRIVATE, SHARED, Options
from pytaskfarmer.api.places import Farm
from pytaskfarmer.api.session import Session
from pytaskfarmer.api.wish import Wish
from pytaskfarmer.errors import UsageError
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.ownership import refuse_strangers


class _Passing(NamedTuple):
    """A work directory that goes when the farm ends; but what jobs have said of their end stays, if they failed."""

    root: str | None
    by_jobs: bool


class Caller:
    """One opened work directory with a farm on it. Raises `UsageError` for a directory that cannot be had.

    The farm ends at the latest when this object, or the interpreter, does.
    """

    def __init__(self, wish: Wish) -> None:
        cluster = wish.cluster
        self.workers = cluster.expected(wish.workers) if cluster else wish.workers or len(os.sched_getaffinity(0))
        self.keeps = wish.workdir is not None if wish.keep is None else wish.keep
        self.root = _directory(wish)
        desk = Desk(self.root)
        for path in (desk.calls, desk.list, desk.jobs):
            open(path, "ab").close()
        self.session = Session(desk, echo=wish.echo)
        passing = None if self.keeps or wish.workdir is not None else self.root
        self._passing = _Passing(passing, by_jobs=wish.cluster is not None)
        self._end = weakref.finalize(self, _stop, self.session, self._passing)
        try:
            self._begin(wish)
        except BaseException:
            self.close(at_once=True, failed=True)
            raise

    def _begin(self, wish: Wish) -> None:
        outbox = self.session.outbox
        argv, initializer = outbox.pack(pickle.dumps(sys.argv)), None
        if wish.initializer is not None:
            first = (wish.initializer, wish.initargs)
            initializer = outbox.pack(travel.pack(first, "the initializer, or one of its arguments,"))
        outbox.flush()
        options = Options(
            self.root,
            wish.workers or (0 if wish.cluster else self.workers),
            tuple(map(str, sys.path)),
            argv,
            tuple(heritage.flags()),
            SHARED if wish.cluster else PRIVATE,
            initializer,
            wish.seed,
            wish.max_tasks,
            wish.timeout,
            passing=self._passing.root is not None and not self._passing.by_jobs,
        )
        self.session.begin(wish.cluster.start(options) if wish.cluster else _local(options))

    def close(self, *, at_once: bool = False, failed: bool = False) -> None:
        """End the farm, and remove the work directory if that is due; nothing in a process that was forked.

        A directory that was named is not removed if something has `failed`, or earlier calls were not made again.
        """
        if self._end.alive and self.session.outbox.is_ours:
            if not at_once:
                self.session.finish()
            _stop(self.session, self._passing)
            if not (self.keeps or failed or self.session.broken or self.session.others):
                shutil.rmtree(self.root, ignore_errors=True)
        self._end.detach()  # not earlier: what is interrupted is done at the exit of the interpreter


def _stop(session: Session, passing: "_Passing") -> None:
    if session.outbox.is_ours:
        session.stop()
        told = passing.by_jobs and session.broken and Desk(passing.root or "").logs_of_jobs()
        if passing.root is not None and not told:
            shutil.rmtree(passing.root, ignore_errors=True)


def _local(options: Options) -> Farm:
    from pytaskfarmer.api.local import LocalFarm

    return LocalFarm(options)


def _directory(wish: Wish) -> str:
    if wish.workdir is None:
        return tempfile.mkdtemp(prefix="pytaskfarmer-", dir=os.getcwd() if wish.cluster else None)
    root = os.path.abspath(wish.workdir)
    os.makedirs(root, exist_ok=True)
    refuse_strangers(Layout(root))
    if os.listdir(root) and not os.path.exists(Desk(root).jobs):
        raise UsageError(f"{root}: is not empty, and holds no calls; name another directory.")
    return root
