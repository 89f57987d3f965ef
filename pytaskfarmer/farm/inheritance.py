"""What a process inherits from the farmer because the farmer takes it on while it starts one.

A mask of CPUs that is set after the start comes too late: a program may have counted its CPUs by then. So the farmer
binds itself for the moment of the start; it has a single thread, which nobody else can start anything from. The same
with the kernel's score: when memory runs out, it kills a task, never the farmer that is to record its end.
"""

import os
from collections.abc import Collection

_SCORE = "/proc/self/oom_score_adj"
_HANDICAP, _WORST = 500, 1000


class Inheritance:
    """The farmer's own state, and that which its children are to start with."""

    def __init__(self) -> None:
        self._home = os.sched_getaffinity(0)
        self._file = -1
        self._own = self._theirs = b""
        try:
            self._file = os.open(_SCORE, os.O_RDWR | os.O_CLOEXEC)
            score = int(os.pread(self._file, 16, 0))
        except (OSError, ValueError):
            self.close()
        else:
            self._own, self._theirs = b"%d" % score, b"%d" % min(_WORST, score + _HANDICAP)

    def take_on(self, cpus: Collection[int] | None) -> None:
        """Become what a child is to be; without `cpus`, it may run where the farmer may."""
        self._score(self._theirs)
        if cpus is not None:
            _bind(cpus)

    def put_off(self, cpus: Collection[int] | None) -> None:
        """Become the farmer again."""
        if cpus is not None:
            _bind(self._home)
        self._score(self._own)

    def _score(self, score: bytes) -> None:
        if self._file >= 0:
            try:
                os.pwrite(self._file, score, 0)
            except OSError:
                self.close()

    def close(self) -> None:
        """Let go of the file; children inherit no score of their own from then on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _bind(cpus: Collection[int]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        pass  # the batch system has taken these CPUs away in the meantime
