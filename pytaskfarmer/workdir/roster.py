"""Who takes part in a run: which farmers live, which are dead, and of which nobody can tell yet.

A claims lock that cannot be taken belongs to the living. One that can be taken belongs to the dead, if the farmer ran
on this boot of this host: the kernel knows. From another host it may also mean that locks do not reach across nodes,
which would let every node run the whole list. So such a farmer counts as living until its heartbeat, the time of its
lock file, has stood still for long enough; and if the heartbeat goes on while the lock is free, the locks are lying,
and this farmer stops with the remedy.

Only a holder of the main lock may ask, since a probe that locks a claims file would make a registration fail.
"""

import os
import time
from dataclasses import dataclass

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.workdir import claims
from pytaskfarmer.workdir.layout import LOCK_SUFFIX, TMP_SUFFIX, Layout
from pytaskfarmer.workdir.locking import FLOCK, Life, Locks

HEARTBEAT = 30.0
"""Seconds between two heartbeats of a farmer."""
MOST_DEAD = 100
"""The dead that one audit takes, since the lock of each is an open descriptor; others wait for the next audit."""
_ADVANCES_THAT_PROVE = 2
_SILENCE_THAT_PROVES = 2.5 * HEARTBEAT


@dataclass(slots=True)
class _Watch:
    """What was seen of the heartbeat of a farmer whose lock is free: file times and our own clock, in seconds."""

    beat: float
    since: float
    advances: int = 0


@dataclass(frozen=True, slots=True)
class Attendance:
    """Names of the other farmers. The locks of `dead` ones are held by us until they are forgotten.

    With `more`, the undecided were not even asked, and another look is due after the dead were audited.
    """

    living: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    more: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        """All who must be taken to hold what they noted."""
        return self.living + self.undecided


def names(layout: Layout) -> list[str]:
    """Return the names of all registered farmers, with one look into the directory."""
    try:
        entries = os.listdir(layout.claims)
    except FileNotFoundError:
        return []
    found = {entry.removesuffix(LOCK_SUFFIX) for entry in entries if not entry.endswith(TMP_SUFFIX)}
    # Neither what a lease leaves while it is broken, nor the `.nfs...` that NFS makes of a removed file that is open.
    return sorted(name for name in found if ".break" not in name and not name.startswith("."))


class Roster:
    """Tells the living from the dead; for the holder of the main lock."""

    def __init__(self, layout: Layout, locks: Locks, own: str, life: Life) -> None:
        self._layout = layout
        self._locks = locks
        self._own = own
        self._life = life
        self._watched: dict[str, _Watch] = {}

    def others(self) -> list[str]:
        """Return the names of all other registered farmers."""
        return [name for name in names(self._layout) if name != self._own]

    def looks_healthy(self, others: list[str]) -> bool:
        """Probe one other farmer: if there is none, or it is dead, an audit is due."""
        return bool(others) and self.may_live(others[0])

    def may_live(self, name: str) -> bool:
        """Probe one farmer: False if it is dead, or has left."""
        return self._standing(name) is not None

    def attendance(self) -> Attendance:
        """Probe every other farmer; those beyond `MOST_DEAD` dead ones stay undecided."""
        living: list[str] = []
        dead: list[str] = []
        undecided: list[str] = []
        for name in self.others():
            standing = "undecided" if len(dead) == MOST_DEAD else self._standing(name)
            (dead if standing is None else living if standing == "living" else undecided).append(name)
        return Attendance(tuple(living), tuple(dead), tuple(undecided), more=len(dead) == MOST_DEAD)

    def forget(self, name: str) -> None:
        """Let go of the lock of a farmer that has been audited."""
        self._locks.forget(self._layout.claim_lock(name))
        self._watched.pop(name, None)

    def _standing(self, name: str) -> str | None:
        """Return "living" or "undecided", or None for the dead."""
        path = self._layout.claim_lock(name)
        try:
            beat = os.stat(path).st_mtime
        except FileNotFoundError:
            return None
        if not self._locks.take_over(path):
            self._watched.pop(name, None)
            return "living"
        farmer = claims.read(self._layout.claim(name)).farmer
        if self._locks.kind != FLOCK or farmer is None or farmer.here or self._silent(name, beat):
            return None
        self._locks.forget(path)
        return "undecided"

    def _silent(self, name: str, beat: float) -> bool:
        now = time.monotonic()
        if self._life.beat() - beat > 2 * _SILENCE_THAT_PROVES:
            return True
        watch = self._watched.setdefault(name, _Watch(beat, now))
        if beat > watch.beat:
            watch.beat, watch.since, watch.advances = beat, now, watch.advances + 1
            if watch.advances >= _ADVANCES_THAT_PROVE:
                raise WorkdirError(
                    f"{self._layout.root}: farmer {name} is alive, but its lock is free here: locks of this file "
                    f"system do not reach across nodes. Start again with --lock lease in a new work directory, or on "
                    f"another file system."
                )
        return now - watch.since > _SILENCE_THAT_PROVES
