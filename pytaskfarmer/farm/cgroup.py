"""The memory group in which the kernel keeps this farmer and its tasks: its limit, and how often it killed in there.

There are two kinds of groups, and a node may have either, or both at once, one of them without a say about memory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

_CREDIT_SECONDS = 3.0
_LOOK_EVERY = 1.0
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Group:
    """A directory, from which the limits of the groups above are reached up to `top`; `second` kind or first."""

    path: str
    top: str
    second: bool

    @property
    def events(self) -> str:
        """The file in which a line `oom_kill N` counts."""
        return os.path.join(self.path, "memory.events" if self.second else "memory.oom_control")

    def limits(self) -> Iterator[int]:
        """Yield the limits of this group and those above, in bytes."""
        path = self.path
        while True:
            text = _read(os.path.join(path, "memory.max" if self.second else "memory.limit_in_bytes")).strip()
            if text.isdecimal() and int(text) < _UNLIMITED:
                yield int(text)
            if path == self.top or len(path) <= len(self.top):
                return
            path = os.path.dirname(path)


def groups(cgroup: str, mountinfo: str) -> list[Group]:
    """Return where the memory group may be, from what `/proc/self/cgroup` and `/proc/self/mountinfo` say."""
    paths = {}
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") or (number, controllers) == ("0", ""):
            paths[number == "0"] = path
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, (kind, _, *options) = before.split(), after.split()
        second = kind == "cgroup2"
        if second in paths and (second or (kind == "cgroup" and "memory" in ",".join(options).split(","))):
            root, top = words[3], words[4]
            path, below = paths[second], os.path.relpath(paths[second], root)
            outside = ".." in (*path.split("/"), *below.split("/"))  # of what a container sees
            found.append(Group(top if outside else os.path.normpath(os.path.join(top, below)), top, second))
    return sorted(found, key=lambda group: group.second)


def own() -> list[Group]:
    """Return the groups of this process."""
    try:
        return groups(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    except ValueError:
        return []


class KernelKills:
    """Tells whether a KILL that nobody admits to came from the kernel, which had no memory left.

    The kernel counts its kills. Each accounts for one death that follows soon, and for none later: it may have been of
    a process that a task could do without. Where several farmers share a group, one may be given another's.
    """

    def __init__(self) -> None:
        self._file = -1
        for group in own():
            try:
                self._file = os.open(group.events, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            if self._count() is not None:
                break
            self.close()
        self._seen = self._count() or 0
        self._credit = 0
        self._expires = self._due = 0.0

    def look(self, now: float) -> None:
        """Notice kills; to be called about once a second, since it tells new ones from old."""
        if now < self._due or self._file < 0:
            return
        self._due = now + _LOOK_EVERY
        count = self._count() or 0
        if count > self._seen:
            self._credit, self._expires = self._credit + count - self._seen, now + _CREDIT_SECONDS
            self._seen = count
        elif now > self._expires:
            self._credit = 0

    def claim(self, now: float) -> bool:
        """Whether a death just now was one of the kernel's kills."""
        self._due = now
        self.look(now)
        self._credit -= (mine := self._credit > 0)
        return mine

    def _count(self) -> int | None:
        try:
            lines = os.pread(self._file, 4096, 0).split(b"\n")
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), None)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
