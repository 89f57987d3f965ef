"""How much memory the tasks use, watched from outside: only where a task has a limit of its own.

The kernel's own limits are for groups that a farmer may not make. So we look at /proc, several times a second, but for
no more than a fiftieth of the time: after a look that was slow, the next one is later. What belongs to a task are the
processes of its session, and all that descend from it.

Pages that processes share count for each of them in what is cheap to read (the resident set). Only where that is too
much, the exact share of each is asked for, which takes the kernel milliseconds a gigabyte.

Where it fails: a task that grows by gigabytes between two looks is over its limit by as much; files in a file system in
memory count only as far as a process has them mapped.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pytaskfarmer.farm.resources import format_size

_SHORTEST_PAUSE = 0.2
_PART_OF_TIME = 50
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Seen(NamedTuple):
    """A process: its parent, its session, and its resident set in bytes."""

    parent: int
    session: int
    size: int


class MemoryWatch:
    """Looks, when it is `due` (monotonic clock), for groups of processes that use more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.due = 0.0
        self._may = f"{format_size(limit)} (--mem-per-task)"

    def look(self, leaders: Collection[int]) -> dict[int, str]:
        """Return the leaders of those who use more, and what is to be said about them."""
        begin = time.monotonic()
        over: dict[int, str] = {}
        seen = processes() if leaders else {}
        for leader, members in families(seen, leaders).items():
            if sum(seen[pid].size for pid in members) > self.limit:
                used = sum(_exact(pid, seen[pid].size) for pid in members)
                if used > self.limit:
                    over[leader] = f"killed for its memory: it used {format_size(used)}, and may use {self._may}"
        end = time.monotonic()
        self.due = end + max(_SHORTEST_PAUSE, _PART_OF_TIME * (end - begin))
        return over


def families(seen: Mapping[int, Seen], leaders: Collection[int]) -> dict[int, list[int]]:
    """Return for each leader the processes of its session, and those that descend from one of them."""
    found: dict[int, list[int]] = {}
    for pid in seen:
        leader = _leader_of(pid, seen, leaders)
        if leader is not None:
            found.setdefault(leader, []).append(pid)
    return found


def _leader_of(pid: int, seen: Mapping[int, Seen], leaders: Collection[int]) -> int | None:
    passed: set[int] = set()
    while pid in seen and pid not in passed:
        if seen[pid].session in leaders:
            return seen[pid].session
        passed.add(pid)
        pid = seen[pid].parent
    return None


def processes() -> dict[int, Seen]:
    """Return all processes of this user that have memory."""
    me, seen = os.geteuid(), {}
    for entry in _entries():
        try:
            if me and entry.stat().st_uid != me:
                continue
            with open(f"{entry.path}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        words = stat[stat.rindex(b")") + 2 :].split()
        if words[21] != b"0":
            seen[int(entry.name)] = Seen(int(words[1]), int(words[3]), int(words[21]) * _PAGE)
    return seen


def _entries() -> Iterable["os.DirEntry[str]"]:
    with os.scandir("/proc") as entries:
        return [entry for entry in entries if entry.name.isdecimal()]


def _exact(pid: int, resident: int) -> int:
    """Return the bytes of which a process is the owner, shared pages in parts; `resident` if the kernel does not say.

    Counts what was swapped out, too.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            words = file.read().split()
        return sum(1024 * int(words[words.index(name) + 1]) for name in (b"Pss:", b"SwapPss:"))
    except (OSError, ValueError):
        return resident
